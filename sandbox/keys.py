"""Keys: the API keys that the v3 API accepts."""

from collections.abc import Iterable, Mapping

from sandbox.answers import Refused, refusal


class Keys:
    """Those given; without any, all that look like SendGrid's (`SG.…`)."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(keys)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises `Refused` with SendGrid's 401."""
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Refused(refusal(401, "authorization required"))
        if key not in self._keys if self._keys else not key.startswith("SG."):
            raise Refused(refusal(401, "The provided authorization grant is invalid, expired, or revoked"))
