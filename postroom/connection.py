"""Connection: runs the ledger's calls on Redis, over a blocking or an asyncio client.

It goes below redis-py's client, to its connections, to know whether a call that failed may have reached Redis.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from postroom.call import Call
from postroom.errors import ConfigurationError, QueueFull

T = TypeVar("T")

#: Of the time that a call may take, the part for opening a connection.
CONNECT_SHARE = 0.4
#: Error replies of a Redis that has not carried the call out, and will when it is well again.
NOT_NOW = ("MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN")


class Unreachable(Exception):
    """Redis did not answer. `sent`: the call may have reached it, and been carried out."""

    def __init__(self, sent: bool, detail: str) -> None:
        super().__init__(sent, detail)
        self.sent = sent
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class Connection:
    """Blocking; safe to share between threads and to take over a fork.

    `timeout` is how many seconds a call may take, opening a connection included. Calls raise `Unreachable`,
    `QueueFull` when Redis is out of memory, and `ConfigurationError` when it refuses the password.
    """

    def __init__(self, url: str, *, timeout: float, max_connections: int = 64) -> None:
        self._pool: Any = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=timeout,
            socket_connect_timeout=timeout * CONNECT_SHARE,
            socket_timeout=timeout * (1 - CONNECT_SHARE),
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )

    def run(self, call: Call[T]) -> T:
        try:
            connection = self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise _translate(error, sent=False) from None
        try:
            return call.decode(_exchange(connection, call))
        except ResponseError as error:
            raise _translate(error, sent=False) from None
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise _translate(error, sent=True) from None
        except BaseException:
            connection.disconnect()  # its reply is still to come
            raise
        finally:
            self._pool.release(connection)

    def close(self) -> None:
        self._pool.disconnect()


class AsyncConnection:
    """The same for asyncio. Starts no thread; each event loop gets connections of its own."""

    def __init__(self, url: str, *, timeout: float, max_connections: int = 64) -> None:
        self._url = url
        self._timeout = timeout
        self._max_connections = max_connections
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()

    async def run(self, call: Call[T]) -> T:
        sent = False
        connection = None
        pool = (await self._here()).pool
        try:
            async with asyncio.timeout(self._timeout):
                connection = await pool.get_connection()
                sent = True
                return call.decode(await _exchange_async(connection, call))
        except ResponseError as error:
            raise _translate(error, sent=False) from None
        except (RedisError, OSError) as error:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise _translate(error, sent) from None
        except BaseException:
            if connection is not None:
                await connection.disconnect(nowait=True)
            raise
        finally:
            if connection is not None:
                await pool.release(connection)

    async def close(self) -> None:
        """Close this event loop's connections. An event loop that ends closes them, too."""
        here = self._loops.pop(asyncio.get_running_loop(), None)
        if here is not None:
            await here.life.aclose()

    async def turn(self) -> asyncio.Semaphore:
        """To be entered before a call that many may make at once: as many go on as there are connections.

        The others wait here, where their time is not counted yet.
        """
        return (await self._here()).turns

    async def _here(self) -> "_Loop":
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._forget_closed_loops()
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                self._url,
                max_connections=self._max_connections,
                timeout=self._timeout,
                socket_connect_timeout=self._timeout * CONNECT_SHARE,
                socket_timeout=None,
                socket_keepalive=True,
                retry=AsyncRetry(NoBackoff(), 0),
            )
            self._loops[loop] = _Loop(pool, asyncio.Semaphore(self._max_connections), life := _life(pool))
            await anext(life)
        return self._loops[loop]

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            del self._loops[loop]


class _Loop(NamedTuple):
    """What an event loop has of its own."""

    pool: Any
    turns: asyncio.Semaphore
    life: AsyncGenerator[None]


async def _life(pool: Any) -> AsyncGenerator[None]:
    """Closes the pool when its event loop ends: `asyncio.run` closes all async generators before."""
    try:
        yield
    finally:
        await pool.disconnect()


def _exchange(connection: Any, call: Call[Any]) -> Any:
    if call.script is None:
        connection.send_command(*call.args)
        return connection.read_response()
    connection.send_command("EVALSHA", call.script.sha, 0, *call.args)
    with suppress(NoScriptError):
        return connection.read_response()
    connection.send_command("EVAL", call.script.text, 0, *call.args)
    return connection.read_response()


async def _exchange_async(connection: Any, call: Call[Any]) -> Any:
    if call.script is None:
        await connection.send_command(*call.args)
        return await connection.read_response()
    await connection.send_command("EVALSHA", call.script.sha, 0, *call.args)
    with suppress(NoScriptError):
        return await connection.read_response()
    await connection.send_command("EVAL", call.script.text, 0, *call.args)
    return await connection.read_response()


def _translate(error: Exception, sent: bool) -> Exception:
    if isinstance(error, (AuthenticationError, NoPermissionError)):
        return ConfigurationError(f"Redis refuses the user of POSTROOM_REDIS_URL: {error}")
    if isinstance(error, OutOfMemoryError):
        return QueueFull(str(error))
    if isinstance(error, (BusyLoadingError, ReadOnlyError)) or str(error).startswith(NOT_NOW):
        return Unreachable(sent=False, detail=str(error))
    if isinstance(error, ResponseError):
        return error  # a bug, or a server too old for these scripts
    return Unreachable(sent=sent, detail=str(error) or type(error).__name__)
