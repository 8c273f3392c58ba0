"""Body: a Django message as a body of SendGrid's v3 `mail/send`. Pure: no clock, no settings, no I/O.

Anymail's attributes become what they became in anymail's backend for SendGrid.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, tzinfo
from email.utils import format_datetime
from math import isfinite
from typing import Any

from django.core.mail import message as django_message
from django.utils.functional import Promise

from postroom.errors import Fault, InvalidMail
from postroom.mail.recipients import FIELDS as RECIPIENTS
from producers.django.addresses import Address, addresses
from producers.django.attachments import attachments
from producers.django.attributes import Attributes, merged, plain, texts

#: SendGrid's order of the parts; https://amp.dev wants its own before HTML.
_ORDER = {"text/plain": 0, "text/x-amp-html": 1, "text/html": 2}

NO_LINE_BREAKS = "Header values can't contain newlines."
NO_BINARY = "SendGrid takes text, which this {} is not. Attach it instead."


class BadHeader(InvalidMail, getattr(django_message, "BadHeaderError", ValueError)):  # type: ignore[misc]
    """A line break in what becomes a header. Up to Django 5.2, `except BadHeaderError` catches it, as it always did."""


def body_of(
    message: Any, *, zone: tzinfo, merge_field_format: str = "{}", defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of a message; SendGrid's rules are yet to be checked.

    `zone` is where a `send_at` without a time zone is meant. Raises `BadHeader`, and `InvalidMail` for what SendGrid
    has no field for.
    """
    _refuse_line_breaks(message)
    attributes = Attributes.of(message, defaults or {})
    extra = attributes.esp_extra or {}
    merge_field_format = extra.pop("merge_field_format", merge_field_format)
    is_dynamic = extra.pop("use_dynamic_template", str(attributes.template_id).startswith("d-"))
    common = extra.pop("personalizations") if isinstance(extra.get("personalizations"), dict) else {}
    data_field = _dynamic if is_dynamic else _legacy(merge_field_format)
    headers = {str(name): _header(value) for name, value in message.extra_headers.items()}
    body = {
        "personalizations": [
            personalization | data_field(data)
            for personalization, data in _personalizations(message, attributes, common)
        ],
        **_people(message, headers),
        "subject": _text(message.subject),
        "content": _content(message),
        "attachments": attachments(message.attachments),
        "headers": texts(headers),
        "template_id": attributes.template_id,
        "categories": attributes.tags,
        "custom_args": texts(attributes.metadata or {}),
        "send_at": _unix_seconds(attributes.send_at, zone),
        "tracking_settings": _tracking(attributes),
    }
    written = {name: value for name, value in body.items() if value not in (None, "", [], {})}
    return merged(written, extra)


def _refuse_line_breaks(message: Any) -> None:
    faults = [Fault(field, NO_LINE_BREAKS) for field, value in _lines(message) if set("\r\n") & set(str(value))]
    if faults:
        raise BadHeader(faults)


def _lines(message: Any) -> Iterator[tuple[str, Any]]:
    yield "subject", message.subject
    yield "from_email", message.from_email
    for field in (*RECIPIENTS, "reply_to"):
        for value in _listed(message, field):
            yield field, value
    for name, value in message.extra_headers.items():
        yield f"headers.{name}", f"{name}{value}"


def _listed(message: Any, field: str) -> Iterable[Any]:
    values = getattr(message, field) or ()
    if isinstance(values, (str, Promise)):
        raise TypeError(f'"{field}" must be a list or tuple')
    return values


def _people(message: Any, headers: dict[str, Any]) -> dict[str, Any]:
    """Who it is from. Taken out of `headers`, From and Reply-To stand for Django's attributes, as Django has it.

    SendGrid allows no header that it writes itself.
    """
    own = {name.lower(): headers.pop(name) for name in list(headers) if name.lower() in ("from", "reply-to")}
    senders = addresses([own.get("from") or message.from_email])
    if len(senders) > 1:
        raise InvalidMail([Fault("from_email", "SendGrid takes one sender, not several.")])
    replies = addresses([own["reply-to"]] if "reply-to" in own else _listed(message, "reply_to"))
    return {
        "from": senders[0].to_json() if senders else None,
        "reply_to_list": [each.to_json() for each in replies],
    }


def _content(message: Any) -> list[dict[str, str]]:
    """The bodies that are not empty: SendGrid takes no empty one, and renders a template by those that are there."""
    alternatives = getattr(message, "alternatives", None) or ()
    parts = [(message.body, f"text/{message.content_subtype}"), *alternatives]
    content = [{"type": kind, "value": _content_text(value, kind)} for value, kind in parts]
    return sorted((part for part in content if part["value"]), key=lambda part: _ORDER.get(part["type"], 3))


def _content_text(value: Any, kind: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else _text(value)
    except UnicodeDecodeError:
        raise InvalidMail([Fault("content", NO_BINARY.format(kind))]) from None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _header(value: Any) -> Any:
    return format_datetime(value) if isinstance(value, datetime) else plain(value)


def _personalizations(
    message: Any, attributes: Attributes, common: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each with its merge data. With attributes by recipient there is one for each `to`, else one in all."""
    people = {field: addresses(_listed(message, field)) for field in RECIPIENTS}
    whole = {field: [each.to_json() for each in listed] for field, listed in people.items() if listed} | common
    shared = attributes.merge_global_data or {}
    if not attributes.are_by_recipient or not people["to"]:
        yield whole, shared
        return
    for to in people["to"]:
        own = _own_fields(to, attributes)
        yield whole | {"to": [to.to_json()]} | own, shared | ((attributes.merge_data or {}).get(to.email) or {})


def _own_fields(to: Address, attributes: Attributes) -> dict[str, Any]:
    fields = {
        "custom_args": texts((attributes.merge_metadata or {}).get(to.email) or {}),
        "headers": texts((attributes.merge_headers or {}).get(to.email) or {}),
    }
    return {name: value for name, value in fields.items() if value}


def _dynamic(data: dict[str, Any]) -> dict[str, Any]:
    return {"dynamic_template_data": data} if data else {}


def _legacy(merge_field_format: str) -> Any:
    def field(data: dict[str, Any]) -> dict[str, Any]:
        named = {merge_field_format.format(name): value for name, value in texts(data).items()}
        return {"substitutions": named} if named else {}

    return field


def _unix_seconds(send_at: Any, zone: tzinfo) -> Any:
    """From a datetime, a date (its midnight) or Unix seconds. Whatever else it is, SendGrid's rules will name."""
    if isinstance(send_at, date) and not isinstance(send_at, datetime):
        send_at = datetime(send_at.year, send_at.month, send_at.day, tzinfo=zone)
    if isinstance(send_at, datetime):
        send_at = (send_at if send_at.tzinfo else send_at.replace(tzinfo=zone)).timestamp()
    return int(send_at) if isinstance(send_at, float) and isfinite(send_at) else send_at


def _tracking(attributes: Attributes) -> dict[str, Any]:
    switches = {"click_tracking": attributes.track_clicks, "open_tracking": attributes.track_opens}
    return {name: {"enable": value} for name, value in switches.items() if value is not None}
