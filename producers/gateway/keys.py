"""Key: lets one app in at the gateway, and says what it may do there. Its token is shown once; a hash of it is kept."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from postroom.mail.limits import MAIL_BYTES
from postroom.names import Lane

#: SendGrid's own begin with `SG.`; its Node client warns of others.
PREFIX = "SG.pr_"
#: Stands for all domains.
ANY_DOMAIN = "*"

_TOKEN = re.compile(rf"{re.escape(PREFIX)}([a-z0-9]{{10}})_([A-Za-z0-9_-]{{43}})")
_DOMAIN = re.compile(r"(?=.{1,253}$)([^\s@.,;:/*\"<>()\[\]\\]{1,63}\.)*[^\s@.,;:/*\"<>()\[\]\\]{1,63}")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key. Times are Unix seconds.

    Keys of one `name` belong to one app and share its idempotency keys, so that a new one can take an old one's place.
    `lane`: None leaves it at what a call has by default, `transactional` for a mail and `bulk` for a batch.
    `from_domains` are in lower case. `max_bytes` is the most that one mail may have.
    """

    id: str
    name: str
    digest: str
    from_domains: list[str]
    created_at: float
    lane: Lane | None = None
    max_bytes: int = MAIL_BYTES
    expires_at: float | None = None

    def fits(self, secret: str) -> bool:
        """Whether this is its secret; in a time that tells nothing of it."""
        return hmac.compare_digest(_digest(secret), self.digest)

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def allows(self, address: str) -> bool:
        """Whether mail may come from this address."""
        domain = address.rpartition("@")[2].lower()
        return domain in self.from_domains or ANY_DOMAIN in self.from_domains


def new_key(
    name: str,
    *,
    from_domains: Iterable[str],
    now: float,
    lane: Lane | None = None,
    max_bytes: int = MAIL_BYTES,
    expires_in: float | None = None,
) -> tuple[Key, str]:
    """A key and its token. `expires_in` is in seconds. Raises `ValueError` for what is no domain, and for none."""
    domains = sorted({domain.lower() for domain in from_domains})
    if not domains:
        raise ValueError(f"a key needs the domains that it may send from; {ANY_DOMAIN} stands for all")
    for domain in domains:
        if domain != ANY_DOMAIN and not _DOMAIN.fullmatch(domain):
            raise ValueError(f"{domain!r} is no domain, such as example.com, or {ANY_DOMAIN} for all")
    id = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(10))
    secret = secrets.token_urlsafe(32)
    key = Key(
        id=id,
        name=name,
        digest=_digest(secret),
        from_domains=domains,
        created_at=now,
        lane=lane,
        max_bytes=max_bytes,
        expires_at=None if expires_in is None else now + expires_in,
    )
    return key, f"{PREFIX}{id}_{secret}"


def taken_apart(token: str) -> tuple[str, str] | None:
    """The id and the secret of a token; None for what is no token."""
    found = _TOKEN.fullmatch(token)
    return (found[1], found[2]) if found else None


def is_key_id(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9]{10}", text) is not None


def pack(key: Key) -> bytes:
    return msgspec.json.encode(key)


def unpack(stored: Any) -> Key:
    return _decoder.decode(stored)


def _digest(secret: str) -> str:
    """The secret has 256 random bits, which no slower hash would make harder to guess."""
    return hashlib.sha256(secret.encode()).hexdigest()


_decoder = msgspec.json.Decoder(Key)
