"""Field: SendGrid's rules for each field of a body, in SendGrid's words."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from postroom.errors import Fault
from postroom.mail import limits, options, parts
from postroom.mail.addresses import EXAMPLE, address_of
from postroom.mail.checks import (
    Check,
    each,
    fault,
    integer,
    line,
    list_of,
    map_of,
    object_of,
    quoted,
    required,
    saying,
    string,
)
from postroom.mail.headers import headers
from postroom.mail.limits import fits

_SUBJECT = "The subject of your email must be a string at least one character in length."
_SEND_AT = (
    "The send_at parameter is expecting a Unix timestamp as an integer. "
    "We will send immediately if you include a send_at timestamp that is in the past."
)


# -- Addresses


def _copies(field: str, role: str) -> Check:
    """cc or bcc: an empty list is refused, while the field itself may be missing."""
    absent = f"Each recipient object must at least have an email address and may also contain a name. {EXAMPLE}"
    empty = fault(
        f"The {field} array, when used, must at least have an email parameter with a valid email address "
        f"and it may also contain a name parameter. {EXAMPLE}"
    )
    listed = list_of(address_of(role, absent))
    return lambda value: empty if value == [] else listed(value)


_NO_TO = (
    "The to array is required for all personalization objects, "
    "and must have at least one email object with a valid email address."
)
_to_list = list_of(address_of("To", "The to email parameter is required."))


def _to(value: Any) -> Sequence[Fault]:
    return fault(_NO_TO) if value == [] else _to_list(value)


_from = address_of(
    "From",
    absent="The from object must at least have an email parameter with a valid email address "
    f"and may also contain a name parameter. {EXAMPLE}",
    invalid="The from email does not contain a valid address.",
)

_REPLY_TO = (
    "The reply_to object, when used, must at least have an email parameter with a valid email address "
    f"and it may also contain a name parameter. {EXAMPLE}"
)
_reply_to = address_of("Reply-To", absent=_REPLY_TO, invalid=_REPLY_TO)
_replies = list_of(
    address_of(
        "Reply-To",
        absent="The reply_to_list object, when used, must at least have an email parameter "
        "and may also contain a name parameter",
    )
)


def _reply_to_list(value: Any) -> Sequence[Fault]:
    found = list(_replies(value))
    if isinstance(value, list):
        if len(value) > limits.REPLY_TO_LIST:
            found += fault("There is a limit of 1000 addresses in reply_to_list.")
        people = [(each.get("email"), each.get("name")) for each in value if isinstance(each, dict)]
        if len({repr(person) for person in people}) < len(people):
            found += fault("The objects of reply_to_list must be unique.")
    return found


# -- Strings


def _subject(value: Any) -> Sequence[Fault]:
    return line(value) if isinstance(value, str) and value else fault(_SUBJECT)


_args = map_of(saying("All values of custom arguments object must be strings", string))


def _own_args(value: Any) -> Sequence[Fault]:
    """A personalization's `custom_args`. Those of the whole mail may be empty: they get the id of the mail."""
    return fault("custom_args cannot be empty.") if value == {} else _args(value)


_SUBSTITUTIONS = "The substitution values must be an object of key/value pairs, where the values are all strings."


_each_substitution = saying(_SUBSTITUTIONS, lambda value: () if value is None else string(value))


def _substitutions(value: Any) -> Sequence[Fault]:
    """Null passes as a value: SendGrid takes it (anymail/django-anymail#422)."""
    if not isinstance(value, dict):
        return fault(_SUBSTITUTIONS)
    if found := each(value.items(), _each_substitution):
        return found
    if len(value) > limits.SUBSTITUTIONS:
        return fault("You are limited to 10,000 substitutions.")
    if not fits(value):
        return fault("Substitutions are limited to 10000 bytes per personalization block.")
    return ()


def _categories(value: Any) -> Sequence[Fault]:
    if not isinstance(value, list):
        return fault("Categories must be an array of strings.")
    if not value:
        return fault("The categories array, when used, must have at least one category.")
    found: list[Fault] = []
    if len(value) > limits.CATEGORIES:
        found += fault(
            f"There is a limit of 10 categories for each email that is sent. You provided {len(value)} categories."
        )
    for item, times in Counter(item for item in value if isinstance(item, str)).items():
        if times > 1:
            twice = f"you have included {quoted(item)} more than once. "
            found += fault(f"The categories must be a unique list, and {twice}")
    return [*found, *_each_category(value)]


def _category(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str):
        return fault("Categories must be an array of strings.")
    if not value.isascii():
        return fault("Categories can not contain non-ASCII characters.")
    if len(value) > limits.CATEGORY_LENGTH:
        return fault(f"Each category must not be longer than 255 characters. {quoted(value)} exceeds this limit")
    return ()


_each_category = list_of(_category)


def _ip_pool_name(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str):
        return fault("The name of your IP pool must be a string.")
    return () if 2 <= len(value) <= 64 else fault("The name of an IP pool has 2 to 64 characters.")


def _template_id(value: Any) -> Sequence[Fault]:
    return () if isinstance(value, str) else fault(f"The template ID must be a string, you provided {quoted(value)}.")


# -- The body

_personalization = object_of(
    {
        "to": _to,
        "cc": _copies("cc", "CC"),
        "bcc": _copies("bcc", "BCC"),
        "from": _from,
        "subject": _subject,
        "headers": headers(
            values="All values of the headers object must be strings.",
            names="Header keys cannot contain non-ASCII characters or empty spaces.",
            reserved="Header cannot be one of the reserved keys.",
        ),
        "substitutions": _substitutions,
        "dynamic_template_data": object_of({}),
        "custom_args": _own_args,
        "send_at": saying(_SEND_AT, integer),
    },
    required("to", _NO_TO),
)
_personalization_list = list_of(_personalization)


def _personalizations(value: Any) -> Sequence[Fault]:
    if value == []:
        return fault("You must have at least one personalization.")
    if not isinstance(value, list) or len(value) <= limits.PERSONALIZATIONS:
        return _personalization_list(value)
    return [
        *fault(
            "The personalization block is limited to 1000 personalizations per API request. "
            f"You have provided {len(value)} personalizations. "
            "Please consider splitting this into multiple requests and resending your request."
        ),
        *_personalization_list(value),
    ]


check_fields = object_of(
    {
        "personalizations": _personalizations,
        "from": _from,
        "reply_to": _reply_to,
        "reply_to_list": _reply_to_list,
        "subject": _subject,
        "content": parts.content,
        "attachments": parts.attachments,
        "template_id": _template_id,
        "sections": map_of(saying("The section values must be strings.", string)),
        "headers": headers(
            values="The header values must be strings.",
            names="Header keys cannot contain non-ASCII characters and empty spaces.",
            reserved="Header can not be one of the reserved keys.",
        ),
        "categories": _categories,
        "custom_args": _args,
        "send_at": saying(_SEND_AT, integer),
        "batch_id": saying("The batch_id must be a string.", string),
        "asm": options.asm,
        "ip_pool_name": _ip_pool_name,
        "mail_settings": options.mail_settings,
        "tracking_settings": options.tracking_settings,
    },
    required("personalizations", "The personalizations field is required and must have at least one personalization."),
    required(
        "from",
        "The from object must be provided for every email send. "
        f"It is an object that requires the email parameter, but may also contain a name parameter. {EXAMPLE}",
    ),
)
