"""API: the inbox, the counts, the faults and the webhook, as JSON for tests and scripts."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.answers import json
from sandbox.faults import Faults
from sandbox.inbox import Inbox
from sandbox.mails import Mail
from sandbox.rules import Rule
from sandbox.schedule import Schedule
from sandbox.stats import Stats
from sandbox.v3 import response
from sandbox.webhook import Hook, Webhook

MOST_MAILS = 1000


class Api:
    """The endpoints under `/api`. Errors are `{"error": text}`. `now` is the time in seconds since 1970."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        schedule: Schedule,
        faults: Faults,
        stats: Stats,
        webhook: Webhook,
        now: Callable[[], float],
    ) -> None:
        self._inbox = inbox
        self._schedule = schedule
        self._faults = faults
        self._stats = stats
        self._webhook = webhook
        self._now = now

    def routes(self) -> list[Route]:
        return [
            Route("/api/mails", self.mails, methods=["GET"]),
            Route("/api/mails", self.clear, methods=["DELETE"]),
            Route("/api/mails/{receipt}", self.mail, methods=["GET"]),
            Route("/api/stats", self.stats, methods=["GET"]),
            Route("/api/faults", self.rules, methods=["GET"]),
            Route("/api/faults", self.set_rules, methods=["PUT"]),
            Route("/api/faults", self.end_rules, methods=["DELETE"]),
            Route("/api/webhook", self.webhook, methods=["GET"]),
            Route("/api/webhook", self.set_webhook, methods=["PUT", "POST"]),
            Route("/api/webhook", self.end_webhook, methods=["DELETE"]),
        ]

    async def mails(self, request: Request) -> Response:
        """`{"total", "mails": [{receipt, time, …}]}`, newest first; `?offset=`, `?limit=` (at most 1000) and `?q=`."""
        try:
            offset, limit = (int(request.query_params.get(name, default)) for name, default in _PAGE)
        except ValueError:
            return _error(400, "offset and limit are whole numbers")
        if not 0 <= offset < 10**9 or not 0 <= limit <= MOST_MAILS:
            return _error(400, f"offset is 0 to 999999999, limit 0 to {MOST_MAILS}")
        total, found = self._inbox.find(request.query_params.get("q", ""), offset, limit)
        return response(json(200, {"total": total, "mails": [self._summary(mail) for mail in found]}))

    async def mail(self, request: Request) -> Response:
        """The same of one mail, and its `body` as it came."""
        mail = self._inbox.get(request.path_params["receipt"])
        if mail is None:
            return _error(404, "no mail in the inbox has this receipt")
        return response(json(200, self._summary(mail) | {"body": msgspec.Raw(mail.raw)}))

    async def clear(self, _request: Request) -> Response:
        """Empty the inbox. The acceptance log keeps everything."""
        self._inbox.clear()
        return Response(status_code=204)

    async def stats(self, _request: Request) -> Response:
        return response(json(200, self._stats.as_json()))

    async def rules(self, _request: Request) -> Response:
        return response(json(200, self._faults.as_json()))

    async def set_rules(self, request: Request) -> Response:
        """Have the rules of the body, a list of `sandbox.rules.Rule`, in place of the old ones."""
        try:
            rules = msgspec.json.decode(await request.body(), type=list[Rule])
        except msgspec.MsgspecError as error:
            return _error(400, str(error))
        self._faults.replace(rules)
        return response(json(200, self._faults.as_json()))

    async def end_rules(self, _request: Request) -> Response:
        self._faults.replace([])
        return Response(status_code=204)

    async def webhook(self, _request: Request) -> Response:
        return response(json(200, self._webhook.as_json()))

    async def set_webhook(self, request: Request) -> Response:
        """Post events as the body, a `sandbox.webhook.Hook`, says."""
        try:
            hook = msgspec.json.decode(await request.body(), type=Hook)
        except msgspec.MsgspecError as error:
            return _error(400, str(error))
        self._webhook.set(hook)
        return response(json(200, self._webhook.as_json()))

    async def end_webhook(self, _request: Request) -> Response:
        self._webhook.set(None)
        return Response(status_code=204)

    def _summary(self, mail: Mail) -> dict[str, Any]:
        return {
            "receipt": mail.receipt,
            "time": mail.time,
            "state": self._schedule.state(mail, self._now()),
            "postroom_ids": mail.postroom_ids,
            "attempt": mail.attempt,
            "from": mail.sender,
            "recipients": mail.recipients,
            "subject": mail.subject,
        }


_PAGE = (("offset", "0"), ("limit", "100"))


def _error(status: int, text: str) -> Response:
    return response(json(status, {"error": text}))
