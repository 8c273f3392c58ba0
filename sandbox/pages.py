"""Pages: the inbox in a browser, and the help on faults.

Everything in a mail is its sender's, so nothing of it is trusted: the templates escape it, no page runs a script that
is not the sandbox's own, and a mail's HTML is shown in a frame that can run none, submit nothing and load nothing.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from sandbox import view
from sandbox.addresses import WORDS
from sandbox.faults import Faults
from sandbox.inbox import Inbox
from sandbox.mails import Mail
from sandbox.rules import ACCEPTING, MEANINGS, Kind
from sandbox.schedule import Schedule
from sandbox.stats import Stats

HERE = Path(__file__).parent
MAILS_A_PAGE = 50

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAIL_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
NO_SNIFFING = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Pages:
    """The pages of one sandbox. `now` is the time in seconds since 1970."""

    def __init__(
        self, *, inbox: Inbox, schedule: Schedule, faults: Faults, stats: Stats, now: Callable[[], float]
    ) -> None:
        self._inbox = inbox
        self._schedule = schedule
        self._faults = faults
        self._stats = stats
        self._now = now
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"clock": clock, "size": size, "pretty": view.pretty}

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.mails),
            Route("/inbox/{receipt}", self.mail),
            Route("/inbox/{receipt}/html", self.html),
            Route("/inbox/{receipt}/attachments/{place:int}", self.attachment),
            Route("/faults", self.help),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]

    async def mails(self, request: Request) -> Response:
        """The list. `?q=` searches, `?page=` turns pages; `?seen=VERSION` gives the list alone, 204 if it is seen."""
        version = f"{self._inbox.version}.{self._schedule.version}.{self._stats.requests}"
        seen = request.query_params.get("seen")
        if seen == version:
            return Response(status_code=204)
        words = request.query_params.get("q", "").strip()
        page = _number(request.query_params.get("page"))
        total, found = self._inbox.find(words, (page - 1) * MAILS_A_PAGE, MAILS_A_PAGE)
        return self._page(
            "inbox.html" if seen is None else "mails.html",
            mails=[(mail, view.glance(mail), self._state(mail)) for mail in found],
            words=words,
            page=page,
            pages=max(1, -(-total // MAILS_A_PAGE)),
            total=total,
            kept=len(self._inbox),
            stats=self._stats.as_json(),
            version=version,
            base=str(request.base_url).rstrip("/"),
        )

    async def mail(self, request: Request) -> Response:
        """One mail. `?show=` is the place of a part, `details` or `json`."""
        mail = self._known(request)
        body = mail.body()
        parts = {str(place): part for place, part in enumerate(view.parts(body))}
        show = request.query_params.get("show", "0" if parts else "details")
        return self._page(
            "mail.html",
            mail=mail,
            body=body,
            view=view,
            state=self._state(mail),
            parts=parts,
            show=show,
            shown=parts.get(show),
            attachments=view.attachments(body),
        )

    async def html(self, request: Request) -> Response:
        """A mail's HTML, for the frame."""
        body = self._known(request).body()
        for part in view.parts(body):
            if part.type == "text/html":
                page = view.page_of(part, view.attachments(body))
                return HTMLResponse(page, headers={"content-security-policy": MAIL_POLICY} | NO_SNIFFING)
        raise HTTPException(404, "this mail has no HTML")

    async def attachment(self, request: Request) -> Response:
        """An attachment, always as a download."""
        attached = view.attachments(self._known(request).body())
        place: int = request.path_params["place"]
        if place >= len(attached):
            raise HTTPException(404, "no such attachment")
        name = quote(attached[place].filename, safe="")
        headers = {
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
            "content-security-policy": "sandbox; default-src 'none'",
        }
        return Response(attached[place].data, media_type=attached[place].media_type, headers=headers | NO_SNIFFING)

    async def help(self, request: Request) -> Response:
        return self._page(
            "faults.html",
            faults=[(kind, meaning, _words_for(kind)) for kind, meaning in MEANINGS.items()],
            accepting=ACCEPTING,
            rules=self._faults.as_json(),
            base=str(request.base_url).rstrip("/"),
        )

    def _page(self, template: str, **values: Any) -> Response:
        text = self._templates.get_template(template).render(now=self._now(), **values)
        headers = {"content-security-policy": PAGE_POLICY, "cache-control": "no-store"}
        return HTMLResponse(text, headers=headers | NO_SNIFFING)

    def _known(self, request: Request) -> Mail:
        mail = self._inbox.get(request.path_params["receipt"])
        if mail is None:
            raise HTTPException(404, "no mail in the inbox has this receipt")
        return mail

    def _state(self, mail: Mail) -> str:
        return self._schedule.state(mail, self._now())


def _words_for(kind: Kind) -> list[str]:
    return [word for word, rule in WORDS.items() if rule.fault is kind]


def _number(text: str | None) -> int:
    """A page's number; 1 for anything that is none."""
    return max(1, int(text)) if text and text.isdecimal() and len(text) < 10 else 1


def clock(time: float, now: float) -> str:
    """A time of the last day as `14:02:31`, an older or later one as `3 Feb 14:02`, in this machine's time zone."""
    try:
        moment = datetime.fromtimestamp(time, UTC).astimezone()
    except (OverflowError, ValueError):
        return f"{time:g}"
    if abs(now - time) < 86_400:
        return f"{moment:%H:%M:%S}"
    return f"{moment.day} {moment:%b %H:%M}"


def size(count: int) -> str:
    """Bytes for people: `812 bytes`, `3.1 kB`, `2.4 MB`."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"
