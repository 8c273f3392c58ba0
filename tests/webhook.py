"""Webhook: the door as a program, and somebody who signs as SendGrid does."""

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette

from postroom.settings import Settings
from producers import AsyncPostroom
from producers.webhook import SIGNATURE, TIMESTAMP, routes
from tests.servers import Program, free_port


class Signer:
    """A key pair like SendGrid's."""

    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())

    @property
    def public_key(self) -> str:
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def sign(self, body: bytes, timestamp: str | None = None) -> dict[str, str]:
        """The two headers."""
        timestamp = timestamp or str(int(time.time()))
        signature = self._key.sign(timestamp.encode() + body, ECDSA(SHA256()))
        return {SIGNATURE: base64.b64encode(signature).decode(), TIMESTAMP: timestamp}


def app() -> Starlette:
    settings = Settings.from_environment()
    return Starlette(routes=routes(AsyncPostroom(settings), settings))


class WebhookDoor(Program):
    """The door alone, on uvicorn."""

    def __init__(self, directory: Path, redis_url: str, key: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/webhooks/sendgrid"
        arguments = ["tests.webhook:app", "--factory", "--port", str(self.port), "--no-access-log"]
        environment = {"POSTROOM_REDIS_URL": redis_url, "POSTROOM_WEBHOOK_KEY": key}
        command = [sys.executable, "-m", "uvicorn", *arguments]
        super().__init__("webhook door", command, directory / "webhook.log", environment)

    def is_ready(self) -> bool:
        return "Uvicorn running on" in self.log_since_start()

    def post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return httpx.post(self.url, content=body, headers=headers, trust_env=False, verify=False, timeout=20)


def event(id: str, what: str = "processed", at: int = 1_700_000_000, **fields: Any) -> dict[str, Any]:
    """An event as SendGrid posts it, of a mail to ann@example.com whose receipt is `receipt-of-22-letters.`."""
    return {
        "event": what,
        "email": "ann@example.com",
        "timestamp": at,
        "postroom_id": id,
        "sg_message_id": "receipt-of-22-letters..recvd-5f54b5d587-pczjm-1-67BADEEA-6.0",
        "sg_event_id": "ZGVsaXZlcmVkLTAtMTIz",
        **fields,
    }


def body_of(*events: dict[str, Any]) -> bytes:
    return json.dumps(events).encode() + b"\r\n"
