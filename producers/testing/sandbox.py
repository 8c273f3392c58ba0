"""Sandbox: the local SendGrid of a test session, by its HTTP interface."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from producers.testing.mail import Accepted, moment

#: Seconds.
TIMEOUT = 10.0
PAGE = 1000

#: Faults by the status that they answer with; all others are `status`.
_BY_STATUS = {400: "rejected", 429: "limited"}


class Sandbox:
    """What it has accepted since the test began, and what it is to get wrong.

    `url` takes the place of https://api.sendgrid.com, and has an inbox page for people.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._http: OpenerDirector = build_opener(ProxyHandler({}))
        self._rules: list[dict[str, Any]] = []
        self._fetched: dict[str, Accepted] = {}

    @property
    def mails(self) -> list[Accepted]:
        """The accepted mails, oldest first."""
        found: list[Any] = []
        while True:
            page = self._ask("GET", f"/api/mails?limit={PAGE}&offset={len(found)}")
            found += page["mails"]
            if not page["mails"] or len(found) >= page["total"]:
                return [self._accepted(summary) for summary in reversed(found)]

    def fail(self, status: int = 503, *, to: str | None = None, times: int | None = None, **fields: Any) -> None:
        """Answer with this status: 302, 400, 401, 403, 413, 429, 500, 502, 503 or 504.

        `to`: only mails with a recipient that contains this. `times`: so often for each mail, then it goes well.
        `fields`: others of a rule, such as `at_most`, `probability`, `message`.
        """
        own = _BY_STATUS.get(status)
        fields |= {"match": to, "times": times, "status": None if own else status}
        self.misbehave(own or "status", **fields)

    def misbehave(self, fault: str, **fields: Any) -> None:
        """Add a rule, whose fields the sandbox's page /faults explains: `misbehave("accept_then_reset", times=1)`.

        Raises `ValueError` for a rule that makes no sense.
        """
        rule = {name: value for name, value in fields.items() if value is not None} | {"fault": fault}
        try:
            self._ask("PUT", "/api/faults", [*self._rules, rule])
        except HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None
        self._rules.append(rule)

    def behave(self) -> None:
        """Get nothing wrong from now on."""
        self._rules = []
        self._ask("DELETE", "/api/faults")

    def clear(self) -> None:
        """Empty the inbox."""
        self._ask("DELETE", "/api/mails")
        self._fetched = {}

    def reset(self) -> None:
        """As if it had just been started."""
        self.behave()
        self.clear()
        self._ask("DELETE", "/api/webhook")

    def bodies(self) -> dict[str, dict[str, Any]]:
        """What was accepted, by Postroom's ids; of a merged request, each mail's own part."""
        return {id: mail.part(id) for mail in self.mails for id in mail.ids}

    def _accepted(self, summary: dict[str, Any]) -> Accepted:
        """A mail does not change, so it is fetched once."""
        receipt = summary["receipt"]
        if receipt not in self._fetched:
            mail = self._ask("GET", f"/api/mails/{receipt}")
            accepted_at = moment(mail["time"])
            self._fetched[receipt] = Accepted(mail["body"], receipt, mail["postroom_ids"], mail["attempt"], accepted_at)
        return self._fetched[receipt]

    def _ask(self, method: str, path: str, value: object = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        request = Request(self.url + path, data, {"content-type": "application/json"}, method=method)  # noqa: S310
        with self._http.open(request, timeout=TIMEOUT) as answer:
            text = answer.read()
        return json.loads(text) if text else None
