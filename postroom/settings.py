"""The settings, read once from the environment into one frozen object. Nothing else reads `os.environ`."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from postroom.errors import ConfigurationError
from postroom.names import Lane
from postroom.rate import Rate

Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400.0)]
Days = Annotated[float, msgspec.Meta(gt=0, le=3_660.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

#: A worker that has not been heard of for so long (seconds) is dead.
OWNER_LIFE = 5.0


class Secret:
    """A value that shows itself to `reveal()` only, never to `repr`, logs or errors."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Postroom's settings. Durations are seconds unless the name says days.

    Each is read from `POSTROOM_` and its name in capitals; `sendgrid_api_key` from `SENDGRID_API_KEY`.
    """

    #: SendGrid's key. Required by the worker only.
    sendgrid_api_key: Secret | None = None
    #: A key of its own for a lane, in place of `sendgrid_api_key`.
    sendgrid_key_transactional: Secret | None = None
    sendgrid_key_bulk: Secret | None = None
    redis_url: str = "redis://127.0.0.1:6379/0"
    sendgrid_url: str = "https://api.sendgrid.com"
    #: Send on behalf of this subuser (SendGrid's `on-behalf-of` header).
    sendgrid_subuser: str | None = None
    #: The public keys of SendGrid's signed Event Webhooks (comma-separated, as SendGrid shows them).
    webhook_key: str | None = None
    #: Staging: all mail goes to this one address.
    redirect_to: str | None = None
    #: Staging: only recipients of these domains (comma-separated); others are refused at enqueue.
    allow_domains: str | None = None
    #: A mail that has not been sent by then is not sent any more.
    expires_transactional: Seconds = 24 * 3600.0
    expires_bulk: Seconds = 72 * 3600.0
    #: How many mails one task claims at once.
    window: Annotated[int, msgspec.Meta(ge=1, le=500)] = 32
    #: Tasks at a time in one worker process.
    threads: Count = 8
    #: No more than so many mails (or recipients) a second are sent by the whole fleet: with one account, and of each
    #: lane. None is no limit.
    rate: Rate | None = None
    rate_transactional: Rate | None = None
    rate_bulk: Rate | None = None
    #: What the rates count.
    rate_unit: Literal["requests", "recipients"] = "requests"
    #: The part of an account's burst that bulk leaves for transactional mail.
    rate_kept: Annotated[float, msgspec.Meta(ge=0, le=0.9)] = 0.2
    #: How long a request to SendGrid may take, from its start to the last byte of the reply.
    request_deadline: Seconds = 30.0
    #: How long a mail in doubt waits for evidence.
    grace: Seconds = 300.0
    #: Tries at sending one mail.
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    #: The first retry waits up to so long, each further one twice as long, up to the cap.
    backoff_base: Seconds = 2.0
    backoff_cap: Seconds = 600.0
    #: How long a finished mail's outcome is kept.
    keep_outcomes_days: Days = 7.0
    #: How long the content of a mail that was not accepted is kept, for a retry by hand.
    keep_failed_days: Days = 7.0
    #: Mails of a batch that are stored together, and the bytes (before compression) that end a chunk early.
    chunk_mails: Annotated[int, msgspec.Meta(ge=1, le=500)] = 256
    chunk_bytes: Count = 4 * 1024 * 1024
    #: How long a call of a producer may take before it raises `QueueUnavailable`.
    producer_timeout: Seconds = 0.9

    def __post_init__(self) -> None:
        _check_redis_url(self.redis_url)
        if self.allow_domains is not None and not self.domains:
            raise ValueError("POSTROOM_ALLOW_DOMAINS names no domain; unset it to allow all of them")
        least = self.request_deadline + OWNER_LIFE + 5
        if self.grace < least:
            raise ValueError(
                f"POSTROOM_GRACE must be at least the request deadline + 10 s ({least:g} s), "
                f"or a mail could be sent again while its first request is still under way"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings.

        An empty variable counts as unset. Raises `ConfigurationError`, naming the variable, for a value of the wrong
        type or range, and for a `POSTROOM_` variable that does not exist.
        """
        known = {variable_of(name): name for name in cls.__struct_fields__}
        strangers = sorted(name for name in environ if name.startswith("POSTROOM_") and name not in known)
        if strangers:
            settings = ", ".join(known)
            raise ConfigurationError(f"{strangers[0]} is not a setting of Postroom; the settings are {settings}")
        values = {known[name]: value for name, value in environ.items() if name in known and value != ""}
        return cls.of(**values)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Make settings from values that may still be strings. Raises `ConfigurationError`."""
        try:
            return msgspec.convert(values, cls, strict=False, dec_hook=_decode)
        except (msgspec.ValidationError, ValueError) as error:
            text = str(error)
            for name in cls.__struct_fields__:
                text = text.replace(f"`$.{name}`", variable_of(name))
            raise ConfigurationError(text) from None

    def api_key(self, lane: Lane) -> Secret:
        """The key that this lane sends with. Raises `ConfigurationError` when there is none."""
        own = self.sendgrid_key_transactional if lane is Lane.TRANSACTIONAL else self.sendgrid_key_bulk
        key = own or self.sendgrid_api_key
        if key is None:
            raise ConfigurationError(
                "SENDGRID_API_KEY is not set; a worker needs it (create one under Settings, API Keys, in SendGrid)"
            )
        return key

    def account(self, lane: Lane) -> str:
        """The name under which pauses are kept: lanes that share a key share its pauses."""
        own = self.sendgrid_key_transactional if lane is Lane.TRANSACTIONAL else self.sendgrid_key_bulk
        return str(lane) if own else "default"

    def lane_rate(self, lane: Lane) -> Rate | None:
        """The limit of a lane; None if it has none of its own."""
        return self.rate_transactional if lane is Lane.TRANSACTIONAL else self.rate_bulk

    def expires_in(self, lane: Lane) -> float:
        """The default of `expires_in` for this lane, in seconds."""
        return self.expires_transactional if lane is Lane.TRANSACTIONAL else self.expires_bulk

    def __repr__(self) -> str:
        """Without the password that the address of Redis may hold; keys hide themselves."""
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        parts = urlsplit(self.redis_url)
        if parts.password:
            shown["redis_url"] = self.redis_url.replace(f":{parts.password}@", ":…@")
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def domains(self) -> frozenset[str]:
        """`allow_domains` as a set, in lower case; empty when all are allowed."""
        return frozenset(name.strip().lower() for name in (self.allow_domains or "").split(",") if name.strip())


def _check_redis_url(url: str) -> None:
    parts = urlsplit(url)
    database = parts.path.strip("/")
    options = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if (
        parts.scheme not in ("redis", "rediss")
        or not parts.hostname
        or not (database.isdigit() or not database)
        or not all(name.startswith("ssl_") for name in options)
    ):
        raise ValueError("POSTROOM_REDIS_URL must be like redis://user:password@host:6379/0, or rediss:// for TLS")


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return "SENDGRID_API_KEY" if name == "sendgrid_api_key" else f"POSTROOM_{name.upper()}"


def _decode(kind: type, value: object) -> object:
    if kind is Secret:
        return value if isinstance(value, Secret) else Secret(str(value))
    if kind is Rate:
        return value if isinstance(value, Rate) else Rate(str(value))
    raise NotImplementedError(f"no setting is of type {kind}")
