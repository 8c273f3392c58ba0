"""Rule: what SendGrid asks of a body, field by field and as a whole, in SendGrid's words.

Sources: https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors in its older form, whose texts SendGrid
sends; the specification in https://github.com/twilio/sendgrid-oai; and SendGrid's answers that were quoted in public,
which count where they differ from the documentation. A doubtful case passes: SendGrid still checks, and to refuse
here what SendGrid takes is worse than not to foresee a refusal. What only the account knows is not checked: the
sender's identity, and whether a template, a group, a pool or a batch exists.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from postroom.errors import Fault
from postroom.mail.addresses import domain_of
from postroom.mail.fields import check_fields
from postroom.mail.glance import fine
from postroom.mail.limits import FAULTS, SCHEDULE_SECONDS, fits
from postroom.mail.recipients import personalizations, repeated, too_many


def faults(body: dict[str, Any], *, now: float) -> list[Fault]:
    """All that SendGrid would refuse in this body, at once (up to a thousand); none if SendGrid would take it.

    `now` is the Unix time that `send_at` is measured from. A path has its indices: `personalizations.0.to.0.email`.
    """
    return [] if fine(body, now) else list(islice(_found(body, now), FAULTS))


def _found(body: dict[str, Any], now: float) -> Iterator[Fault]:
    yield from check_fields(body)
    yield from too_many(body)
    yield from _replies(body)
    yield from _content(body)
    yield from _subject(body)
    yield from _template(body)
    yield from _schedule("send_at", body, now)
    for number, personalization in personalizations(body):
        yield from repeated(number, personalization)
        yield from _sender(number, personalization, body)
        yield from _schedule(f"personalizations.{number}.send_at", personalization, now)
    yield from oversized_args(body)


def _replies(body: dict[str, Any]) -> Iterator[Fault]:
    if body.get("reply_to") and body.get("reply_to_list"):
        yield Fault("reply_to_list", "Use either reply_to or reply_to_list, not both.")


def _content(body: dict[str, Any]) -> Iterator[Fault]:
    if body.get("template_id"):
        return
    content = body.get("content")
    one_block = (
        "There must be at least one defined content block. We typically suggest both text/plain and text/html blocks "
        "are included, but only one block is required."
    )
    if content is None:
        absent = "Unless a valid template_id is provided, the content parameter is required."
        yield Fault("content", f"{absent} {one_block}")
    elif content == []:
        yield Fault("content", one_block)


def _subject(body: dict[str, Any]) -> Iterator[Fault]:
    if body.get("template_id") or body.get("subject") is not None:
        return
    if any(each.get("subject") is None for _, each in personalizations(body)):
        yield Fault(
            "subject",
            "The subject is required. You can get around this requirement if you use a template with a subject defined "
            "or if every personalization has a subject defined.",
        )


def _schedule(field: str, holder: dict[str, Any], now: float) -> Iterator[Fault]:
    send_at = holder.get("send_at")
    if isinstance(send_at, int) and send_at > now + SCHEDULE_SECONDS:
        yield Fault(field, "Scheduling more than 72 hours in advance is forbidden.")


def _sender(number: int, personalization: dict[str, Any], body: dict[str, Any]) -> Iterator[Fault]:
    """https://www.twilio.com/docs/sendgrid/for-developers/sending-email/personalizations: other domains are refused."""
    own, common = (_from_address(each) for each in (personalization, body))
    if own and common and domain_of(own) != domain_of(common):
        yield Fault(
            f"personalizations.{number}.from.email",
            f"The domain of this address must be that of the mail's from address, {domain_of(common):.80}.",
        )


def _from_address(holder: dict[str, Any]) -> str | None:
    sender = holder.get("from")
    address = sender.get("email") if isinstance(sender, dict) else None
    return address if isinstance(address, str) else None


def _template(body: dict[str, Any]) -> Iterator[Fault]:
    """Dynamic templates, whose ids begin with d-, take data; the older ones take substitutions."""
    template_id = body.get("template_id")
    if not template_id and any(each.get("dynamic_template_data") for _, each in personalizations(body)):
        yield Fault("template_id", "The template_id is required when using dynamic templates")
    if not isinstance(template_id, str) or not template_id.startswith("d-"):
        return
    for number, each in personalizations(body):
        if each.get("substitutions"):
            field = f"personalizations.{number}.substitutions"
            yield Fault(field, "Substitutions may not be used with dynamic templating")


def oversized_args(body: dict[str, Any]) -> Iterator[Fault]:
    """The `custom_args` that are too long, each personalization's taken together with those of the whole mail."""
    message = (
        "The combined size of both global and personalization custom arguments may not exceed 10,000 bytes "
        "per personalization."
    )
    common = _string_members(body.get("custom_args"))
    if not fits(common):
        yield Fault("custom_args", message)
        return
    for number, personalization in personalizations(body):
        own = _string_members(personalization.get("custom_args"))
        if own and not fits(common | own):
            yield Fault(f"personalizations.{number}.custom_args", message)


def _string_members(value: Any) -> dict[str, str]:
    return {name: item for name, item in value.items() if isinstance(item, str)} if isinstance(value, dict) else {}
