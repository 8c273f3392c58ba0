"""`POST /v3/mail/send`: a request is checked, struck by its faults, noted, and answered, in this order.

A plain ASGI app, because all of a test's mails go through it.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from postroom import mail as v3
from postroom.errors import InvalidMail
from sandbox import answers
from sandbox.acceptance import Acceptance, AcceptanceLog
from sandbox.answers import Answer, Refused, refusal
from sandbox.faults import Faults, Plan
from sandbox.inbox import Inbox
from sandbox.keys import Keys
from sandbox.mails import Mail
from sandbox.mishaps import answer_of, misbehave
from sandbox.rules import ACCEPTING, Kind, Rule
from sandbox.stats import Stats
from sandbox.webhook import Webhook
from sandbox.wire import Wire

#: SendGrid takes up to 30 MB a mail (twilio.com/docs/sendgrid/api-reference/mail-send/limitations).
MOST_BYTES = 30 * 1024 * 1024

Headers = Mapping[bytes, bytes]


class MailSend:
    """The endpoint. `now` is the time in seconds since 1970."""

    def __init__(
        self,
        *,
        keys: Keys,
        log: AcceptanceLog | None,
        inbox: Inbox,
        faults: Faults,
        stats: Stats,
        webhook: Webhook,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._log = log
        self._inbox = inbox
        self._faults = faults
        self._stats = stats
        self._webhook = webhook
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._stats.requests += 1
        wire: Wire = scope["wire"]
        if early := self._faults.early():
            await self._break_off(early, wire)
            return
        raw = await _read(receive)
        if raw is None:
            return
        try:
            mail = self._check(scope["method"], dict(scope["headers"]), raw)
            plan = self._faults.plan(list(zip(mail.recipients, mail.ids, strict=True)))
            answer = await self._misbehave(plan, wire, mail) if plan else self._accept(mail)
        except Refused as refused:
            answer = refused.answer
        if answer:
            self._stats.by_status[answer.status] += 1
            await answer.send(send)
            wire.held = False

    def _check(self, method: str, headers: Headers, raw: bytes) -> Mail:
        """The mail of a request. Raises `Refused`."""
        if method != "POST":
            raise Refused(refusal(405, "method not allowed", ((b"allow", b"POST"),)))
        self._keys.check(headers)
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Refused(refusal(415, "Content-Type should be application/json."))
        if headers.get(b"content-encoding", b"").strip().lower() == b"gzip":
            raw = _unzip(raw)
        if len(raw) > MOST_BYTES:
            raise Refused(refusal(413, "content too large"))
        return Mail.of(_valid(raw, self._now()), raw, _attempt(headers))

    def _accept(self, mail: Mail) -> Answer:
        """Note the mail as accepted, then the answer that says so. A mail in SendGrid's sandbox mode is not noted."""
        if mail.test_only:
            return Answer(200)
        mail.time = self._now()
        self._write(mail)
        self._inbox.add(mail)
        self._stats.accepted += 1
        self._webhook.tell(mail)
        return Answer(202, headers=((b"x-message-id", mail.receipt.encode()),))

    def _write(self, mail: Mail) -> None:
        if self._log is None:
            return
        try:
            self._log.write(
                Acceptance(mail.time, mail.receipt, mail.postroom_ids, mail.attempt, mail.recipients, mail.subject)
            )
        except OSError as error:
            raise Refused(refusal(500, f"the acceptance log cannot be written: {error}")) from None

    async def _break_off(self, rule: Rule, wire: Wire) -> None:
        wire.held = True
        self._stats.faults[rule.fault] += 1
        await asyncio.sleep(rule.latency)
        await misbehave(rule, wire, "")

    async def _misbehave(self, plan: Plan, wire: Wire, mail: Mail) -> Answer | None:
        """Let go wrong what is planned. The answer to give, or None when the connection is gone."""
        wire.held = True
        await asyncio.sleep(plan.latency)
        if plan.rule is None:
            self._stats.faults[Kind.LATENCY] += 1
            return self._accept(mail)
        self._stats.faults[plan.rule.fault] += 1
        if plan.rule.fault in ACCEPTING:
            self._accept(mail)
        answer = answer_of(plan.rule, plan.address, mail, self._now())
        if answer is None:
            await misbehave(plan.rule, wire, mail.receipt)
        return answer


async def _read(receive: Receive) -> bytes | None:
    """The body, or None when the client left before its end.

    Of a body that is too large the rest is read but not kept: a client that still writes would not see the answer.
    """
    message: Message = await receive()
    body: bytes | bytearray = message.get("body", b"")
    while message["type"] == "http.request" and message["more_body"]:
        message = await receive()
        if len(body) <= MOST_BYTES:
            body = bytearray(body) if isinstance(body, bytes) else body
            body += message.get("body", b"")
    return bytes(body) if message["type"] == "http.request" else None


def _unzip(raw: bytes) -> bytes:
    unzipper = zlib.decompressobj(wbits=31)
    try:
        body = unzipper.decompress(raw, MOST_BYTES + 1)
    except zlib.error:
        raise Refused(refusal(400, "Bad Request")) from None
    if not unzipper.eof and len(body) <= MOST_BYTES:
        raise Refused(refusal(400, "Bad Request"))
    return body


def _valid(raw: bytes, now: float) -> dict[str, Any]:
    """The body as an object. Raises `Refused` with SendGrid's errors."""
    try:
        body = v3.load(raw)
        faults = v3.faults(body, now=now)
    except InvalidMail as invalid:
        faults = invalid.faults
    if faults:
        status = 415 if faults[0].message == "Invalid UTF8 in request" else 400
        entries = [answers.error(f.message, f.field or None, v3.help_of(f.field, f.message)) for f in faults]
        raise Refused(answers.errors(status, entries))
    return body


def _attempt(headers: Headers) -> int | None:
    text = headers.get(b"x-postroom-attempt", b"")
    return int(text) if text.isdigit() and len(text) < 10 else None
