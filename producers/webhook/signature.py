"""Signature: whether a request comes from SendGrid's Event Webhook.

SendGrid signs the timestamp and the raw bytes of the body by ECDSA (P-256, SHA-256), and sends the signature (DER in
base64) and the timestamp in two headers; it shows the public key (DER in base64) where the webhook is set up
(https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features).

How old a timestamp is does not matter. SendGrid repeats a post for up to 24 hours, and a repeat of old events, whoever
sends it, changes nothing.
"""

import base64
import binascii
import re

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from postroom.errors import ConfigurationError

#: The names of the two headers.
SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"

_ALGORITHM = ECDSA(SHA256())
#: A signature is at most 72 bytes.
_SIGNATURE_LIMIT = 100
_TIME = re.compile(r"[0-9]{1,20}")


class Signatures:
    """Checks signatures by public keys: one, or several with commas between them (one webhook each, or old and new).

    Raises `ConfigurationError` for what is no such key.
    """

    def __init__(self, keys: str) -> None:
        self._keys = [_key(text) for text in keys.split(",") if text.strip()]
        if not self._keys:
            raise ConfigurationError("POSTROOM_WEBHOOK_KEY has no key")

    def hold(self, signature: str | None, timestamp: str | None, body: bytes) -> bool:
        """Whether SendGrid has signed this; False for anything that is malformed or missing."""
        signed = _decoded(signature) if signature and len(signature) <= _SIGNATURE_LIMIT else None
        if signed is None or timestamp is None or not _TIME.fullmatch(timestamp):
            return False
        data = timestamp.encode() + body
        return any(_holds(key, signed, data) for key in self._keys)


def _holds(key: EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes | None:
    """Base64 in its one proper form: without it, other texts would stand for the same bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def _key(text: str) -> EllipticCurvePublicKey:
    key = _loaded(_decoded("".join(text.split())) or b"")
    if key is None:
        raise ConfigurationError(
            "POSTROOM_WEBHOOK_KEY must be the verification key that SendGrid shows under Settings, Mail Settings, "
            "Event Webhook, Signature Verification: base64 that begins with MFkw"
        )
    return key


def _loaded(der: bytes) -> EllipticCurvePublicKey | None:
    """A key of SendGrid's kind, in the one form that SendGrid writes."""
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        return None
    return key if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == der else None
