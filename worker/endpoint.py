"""Endpoint: where a lane's mails are posted, and the headers that go with each. It never shows the key."""

from importlib.metadata import PackageNotFoundError, version
from typing import Self
from urllib.parse import urlsplit

from sendgrid import SendGridAPIClient

from postroom.errors import ConfigurationError
from postroom.names import Lane
from postroom.settings import Settings, variable_of

_PATH = "/v3/mail/send"


class Endpoint:
    """An address and the headers for it.

    SendGrid's own client makes the base address, the Authorization and the On-Behalf-Of header. Nothing is ever sent
    by it: it has no timeout, follows redirects with the key, and logs key and recipients.
    """

    __slots__ = ("_lines", "url")

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = url
        self._lines = [f"{name}: {value}" for name, value in headers.items()]

    @classmethod
    def of(cls, settings: Settings, lane: Lane) -> Self:
        """The endpoint of a lane. Raises `ConfigurationError`, naming the setting, if the key is missing or unfit."""
        key = settings.api_key(lane).reveal()
        own_key = settings.account(lane) == lane
        _check_header(key, variable_of(f"sendgrid_key_{lane}" if own_key else "sendgrid_api_key"))
        _check_header(settings.sendgrid_subuser or "-", variable_of("sendgrid_subuser"))
        client = SendGridAPIClient(key, _base(settings.sendgrid_url), settings.sendgrid_subuser)
        own = {"Content-Type": "application/json", "User-Agent": f"postroom/{_version()}"}
        return cls(client.host + _PATH, {**client.client.request_headers, **own})

    def header_lines(self, attempt: int) -> list[str]:
        """The headers of a request, one `Name: value` each. `attempt` is counted from 1."""
        return [*self._lines, f"X-Postroom-Attempt: {attempt}"]

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


def _base(url: str) -> str:
    """The base address without a slash at its end. Raises `ConfigurationError`."""
    name = variable_of("sendgrid_url")
    _check_header(url, name)
    parts = urlsplit(url)
    plain = parts.username is None and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ConfigurationError(f"{name} must be an address such as https://api.sendgrid.com")
    return url.rstrip("/")


def _check_header(value: str, name: str) -> None:
    """Raise `ConfigurationError` for a value that cannot stand in a header, such as a key with its file's line end."""
    if not (value.isascii() and value.isprintable() and value.strip() == value):
        raise ConfigurationError(f"{name} has a space, line end or other character that does not belong in it")


def _version() -> str:
    try:
        return version("postroom")
    except PackageNotFoundError:
        return "0"
