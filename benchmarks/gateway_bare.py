"""A bare app, as a program: it reads the body and answers 202. The same server as the gateway's, and nothing else."""

import socket

import uvicorn
from starlette.types import Receive, Scope, Send

STARTED = {"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]}
ENDED = {"type": "http.response.body", "body": b""}


async def app(_scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(STARTED)
    await send(ENDED)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    options = {"http": "httptools", "ws": "none", "loop": "asyncio", "lifespan": "off", "proxy_headers": False}
    config = uvicorn.Config(app, **options, log_config=None, access_log=False, server_header=False)  # type: ignore[arg-type]
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
