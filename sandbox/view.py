"""View: a mail's JSON in the parts that its page shows."""

import base64
import binascii
import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sandbox.mails import Mail

#: So many personalizations are shown; the JSON has all.
MOST_PERSONALIZATIONS = 50

_NAMES = {"text/html": "HTML", "text/plain": "Text", "text/x-amp-html": "AMP", "text/calendar": "Calendar"}
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+")
_INVISIBLE = re.compile(r"<(style|script|head|title)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.DOTALL | re.IGNORECASE)
_OWN_PLACE = ("content", "attachments", "personalizations", "from", "subject")


class Part(msgspec.Struct, frozen=True):
    """One form of a mail's text. `name` is for people: `HTML`, `Text` or the type itself."""

    type: str
    value: str

    @property
    def name(self) -> str:
        return _NAMES.get(self.type, self.type)


class Attachment(msgspec.Struct, frozen=True):
    """One attachment; `data` are its bytes."""

    filename: str
    media_type: str
    data: bytes
    content_id: str


class Glance(NamedTuple):
    """What the list shows of a mail: the beginning of its text, on one line, and how many files it carries.

    A mail whose text a template makes has no text here; pictures within the text are no files.
    """

    text: str
    files: int


class _Attached(msgspec.Struct):
    disposition: str | None = None


class _Contents(msgspec.Struct):
    content: list[Part] | None = None
    attachments: list[_Attached] | None = None


def glance(mail: Mail) -> Glance:
    """Reads no more of the JSON than it needs, for a list has many mails."""
    contents = msgspec.json.decode(mail.raw, type=_Contents)
    files = sum(attached.disposition != "inline" for attached in contents.attachments or ())
    return Glance(_beginning(contents.content or []), files)


def _beginning(forms: list[Part], length: int = 140) -> str:
    for part in forms:
        if part.type == "text/plain":
            return _one_line(part.value[: 4 * length])[:length]
    return _one_line(html.unescape(_INVISIBLE.sub(" ", forms[0].value[:20_000])))[:length] if forms else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def parts(body: dict[str, Any]) -> list[Part]:
    """The forms of the text, HTML first."""
    found = [Part(part["type"], part["value"]) for part in body.get("content") or ()]
    return sorted(found, key=lambda part: part.type != "text/html")


def page_of(part: Part, attached: list[Attachment]) -> str:
    """A mail's HTML with the images that it carries itself (`cid:…`) put in their places."""
    text = part.value
    for attachment in attached:
        if attachment.content_id and attachment.media_type.startswith("image/"):
            data = base64.b64encode(attachment.data).decode()
            text = text.replace(f"cid:{attachment.content_id}", f"data:{attachment.media_type};base64,{data}")
    return text


def attachments(body: dict[str, Any]) -> list[Attachment]:
    """The attachments. One whose content is not base64 is shown as empty."""
    return list(_attachments(body))


def _attachments(body: dict[str, Any]) -> Iterator[Attachment]:
    for attachment in body.get("attachments") or ():
        media_type = attachment.get("type") or ""
        try:
            data = base64.b64decode(attachment["content"])
        except binascii.Error:
            data = b""
        yield Attachment(
            filename=attachment["filename"],
            media_type=media_type if _MEDIA_TYPE.fullmatch(media_type) else "application/octet-stream",
            data=data,
            content_id=attachment.get("content_id") or "",
        )


def people(body: dict[str, Any], field: str) -> list[str]:
    """The people in a field of all personalizations, as `Ada Lovelace <ada@example.com>`."""
    return [person_name(person) for each in body["personalizations"] for person in each.get(field) or ()]


def person_name(person: dict[str, Any]) -> str:
    name = person.get("name")
    return f"{name} <{person['email']}>" if name else str(person["email"])


def details(body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What has no place of its own on the page: a title and the fields under it."""
    personalizations = body["personalizations"]
    titled = [
        (f"Personalization {place} of {len(personalizations)}", personalization)
        for place, personalization in enumerate(personalizations[:MOST_PERSONALIZATIONS], start=1)
    ]
    rest = {name: value for name, value in body.items() if name not in _OWN_PLACE}
    return [("All recipients", rest), *titled] if rest else titled


def source(body: dict[str, Any]) -> str:
    """The JSON, indented, with the attachments' contents left out."""
    if body.get("attachments"):
        shown = [each | {"content": f"({len(each['content'])} characters)"} for each in body["attachments"]]
        body = body | {"attachments": shown}
    return pretty(body)


def pretty(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
