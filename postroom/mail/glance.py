"""Glance: whether a body is fine at first sight.

Nearly every body is, and has only the usual fields. These are described here as types, so that msgspec goes through a
body in C. The rules remain what counts: a glance that sees no fault must be right (a test holds it to that), and one
that is not sure, as with any rarer field, says so.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from postroom.mail import limits
from postroom.mail.addresses import ADDRESS
from postroom.mail.headers import RESERVED
from postroom.mail.limits import fits

_is_address = re.compile(ADDRESS).fullmatch

_USUAL_CONTENT = (["text/plain"], ["text/html"], ["text/plain", "text/html"])

_Category = Annotated[str, Meta(max_length=limits.CATEGORY_LENGTH)]
_Categories = Annotated[list[_Category], Meta(min_length=1, max_length=limits.CATEGORIES)]
_Text = Annotated[str, Meta(min_length=1)]


class _Address(msgspec.Struct, gc=False):
    email: Annotated[str, Meta(max_length=limits.ADDRESS_LENGTH)]
    name: str | None = None


_Addresses = Annotated[list[_Address], Meta(min_length=1)]


class _Personalization(msgspec.Struct, rename={"sender": "from"}, gc=False):
    to: _Addresses
    cc: _Addresses | None = None
    bcc: _Addresses | None = None
    sender: None = None
    subject: _Text | None = None
    headers: dict[str, str] | None = None
    substitutions: dict[str, str] | None = None
    dynamic_template_data: dict[str, Any] | None = None
    custom_args: Annotated[dict[str, str], Meta(min_length=1)] | None = None
    send_at: int | None = None


class _Part(msgspec.Struct, gc=False):
    type: str
    value: _Text


class _Group(msgspec.Struct, gc=False):
    group_id: int
    groups_to_display: Annotated[list[int], Meta(max_length=limits.GROUPS)] | None = None


class _ClickTracking(msgspec.Struct, gc=False):
    enable: bool | None = None
    enable_text: bool | None = None


class _OpenTracking(msgspec.Struct, gc=False):
    enable: bool | None = None
    substitution_tag: str | None = None


class _Tracking(msgspec.Struct, gc=False):
    click_tracking: _ClickTracking | None = None
    open_tracking: _OpenTracking | None = None
    subscription_tracking: None = None
    ganalytics: None = None


class _Body(msgspec.Struct, rename={"sender": "from"}, gc=False):
    """A body of the usual fields. Where only None is allowed, the rules have to look."""

    personalizations: Annotated[list[_Personalization], Meta(min_length=1, max_length=limits.PERSONALIZATIONS)]
    sender: _Address
    reply_to: _Address | None = None
    reply_to_list: None = None
    subject: _Text | None = None
    content: Annotated[list[_Part], Meta(min_length=1)] | None = None
    attachments: None = None
    template_id: str | None = None
    sections: None = None
    headers: dict[str, str] | None = None
    categories: _Categories | None = None
    custom_args: dict[str, str] | None = None
    send_at: int | None = None
    batch_id: str | None = None
    asm: _Group | None = None
    ip_pool_name: Annotated[str, Meta(min_length=2, max_length=64)] | None = None
    mail_settings: None = None
    tracking_settings: _Tracking | None = None


def fine(body: dict[str, Any], now: float) -> bool:
    """True: the rules find no fault in this body. False: they have to look."""
    try:
        mail = msgspec.convert(body, _Body)
    except (ValueError, RecursionError):
        return False
    return (
        _is_complete(mail)
        and (mail.categories is None or _fine_categories(mail.categories))
        and (mail.content is None or [part.type for part in mail.content] in _USUAL_CONTENT)
        and (mail.headers is None or _fine_headers(mail.headers))
        and (mail.custom_args is None or fits(mail.custom_args))
        and _fine_people(mail)
        and _fine_personalizations(mail, now + limits.SCHEDULE_SECONDS)
    )


def _is_complete(mail: _Body) -> bool:
    if mail.template_id:
        return True
    has_subject = mail.subject is not None or all(each.subject is not None for each in mail.personalizations)
    return has_subject and mail.content is not None


def _fine_categories(categories: list[str]) -> bool:
    return len(set(categories)) == len(categories) and "".join(categories).isascii()


def _fine_headers(headers: dict[str, str]) -> bool:
    names = [name.lower() for name in headers]
    joined = "".join(names)
    return (
        joined.isascii()
        and " " not in joined
        and "" not in headers
        and _are_lines([joined, *headers.values()])
        and RESERVED.isdisjoint(names)
        and len(set(names)) == len(names)
    )


def _are_lines(texts: Iterable[str | None]) -> bool:
    """Whether all of these are free of control characters (and some others: never mind)."""
    return "".join(filter(None, texts)).isprintable()


def _fine_people(mail: _Body) -> bool:
    """The sender, the recipients and the subjects."""
    people = [mail.sender] if mail.reply_to is None else [mail.sender, mail.reply_to]
    lines = [mail.subject]
    recipients = 0
    for each in mail.personalizations:
        reached = each.to + (each.cc or []) + (each.bcc or []) if each.cc or each.bcc else each.to
        if len(reached) > 1 and len({address.email.lower() for address in reached}) < len(reached):
            return False
        recipients += len(reached)
        people += reached
        lines.append(each.subject)
    lines += [address.name for address in people]
    return (
        recipients <= limits.RECIPIENTS
        and all(map(_is_address, [address.email for address in people]))
        and _are_lines(lines)
    )


def _fine_personalizations(mail: _Body, latest: float) -> bool:
    common = mail.custom_args or {}
    has_data = bool(mail.template_id)
    has_substitutions = not (mail.template_id or "").startswith("d-")
    for each in mail.personalizations:
        is_fine = (
            (each.send_at is None or each.send_at <= latest)
            and (each.headers is None or _fine_headers(each.headers))
            and (each.custom_args is None or fits(common | each.custom_args))
            and (not each.substitutions or (has_substitutions and fits(each.substitutions)))
            and (not each.dynamic_template_data or has_data)
        )
        if not is_fine:
            return False
    return mail.send_at is None or mail.send_at <= latest
