"""Option: SendGrid's rules for `mail_settings`, `tracking_settings` and `asm`, in SendGrid's words."""

from collections.abc import Sequence
from typing import Any

from postroom.errors import Fault
from postroom.mail import limits
from postroom.mail.addresses import EXAMPLE, email
from postroom.mail.checks import (
    Check,
    boolean,
    fault,
    integer,
    list_of,
    object_of,
    required,
    saying,
    string,
)

_BCC_ABSENT = "You must include a recipient object when using the bcc mail setting."
_BCC_INVALID = (
    f"The bcc email recipient object must at least have an email address and may also contain a name. {EXAMPLE}"
)
_URL_ABSENT = "You must include the url to post to when using the spam check mail setting."
_THRESHOLD_ABSENT = "You must include the spam check threshold  when using the spam check mail setting."
_UNSUBSCRIBE = "The subscription tracking unsubscribe content for {} messages must be a string."
_GROUP_ID = "The ASM group ID must be an integer."
_GROUPS = "The ASM Group IDs to display must be an array of integers."

_PARTIAL_BYPASSES = ("bypass_bounce_management", "bypass_spam_management", "bypass_unsubscribe_management")


def _enable(message: str) -> Check:
    return saying(message, boolean)


def _words(message: str) -> Check:
    return saying(message, string)


def _when_enabled(rule: Check) -> Check:
    return lambda value: rule(value) if value.get("enable") is True else ()


def _url(value: Any) -> Sequence[Fault]:
    if not isinstance(value, str):
        return fault("The spam check url must be a string.")
    if not value.startswith(("http://", "https://")):
        return fault("The `post_to_url` parameter must start with `http://` or `https://`.")
    return ()


def _threshold(value: Any) -> Sequence[Fault]:
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 10:
        return ()
    return fault(
        "The spam check threshold is between 1 and 10, with the lower numbers being the most strict filtering. "
    )


def _one_bypass(settings: dict[str, Any]) -> Sequence[Fault]:
    """The bypass of all lists excludes the partial ones.

    Its presence is enough: `{"enable": false}` beside an enabled partial one was refused too (sendgrid/docs#6549).
    """
    if settings.get("bypass_list_management") is None:
        return ()
    partial = (settings.get(name) for name in _PARTIAL_BYPASSES)
    if not any(isinstance(each, dict) and each.get("enable") is True for each in partial):
        return ()
    return fault(
        "bypass_list_management is mutually exclusive with bypass_bounce_management, bypass_spam_management and "
        "bypass_unsubscribe_management",
        "bypass_list_management",
    )


def _groups(value: Any) -> Sequence[Fault]:
    if not isinstance(value, list):
        return fault(_GROUPS)
    if len(value) > limits.GROUPS:
        return fault("There is a limit of 25 unsubscribe groups that can be displayed to a user at a time.")
    return _each_group(value)


_each_group = list_of(saying(_GROUPS, integer))

asm = object_of(
    {"group_id": saying(_GROUP_ID, integer), "groups_to_display": _groups},
    required("group_id", _GROUP_ID),
)

mail_settings = object_of(
    {
        "bcc": object_of(
            {
                "enable": _enable("The bcc enable param should be a boolean value."),
                "email": email("BCC", _BCC_ABSENT, _BCC_INVALID),
            },
            _when_enabled(required("email", _BCC_ABSENT)),
        ),
        "bypass_list_management": object_of(
            {"enable": _enable("The bypass list management enable param should be a boolean value.")}
        ),
        **{name: object_of({"enable": boolean}) for name in _PARTIAL_BYPASSES},
        "footer": object_of(
            {
                "enable": _enable("The footer enable param should be a boolean value."),
                "html": _words("The text/html version of your footer should be a string."),
                "text": _words("The text/plain version of your footer should be a string."),
            }
        ),
        "sandbox_mode": object_of({"enable": _enable("The sandbox mode enable param should be a boolean value.")}),
        "spam_check": object_of(
            {
                "enable": _enable("The spam check enable param should be a boolean value."),
                "post_to_url": _url,
                "threshold": _threshold,
            },
            _when_enabled(required("post_to_url", _URL_ABSENT)),
            _when_enabled(required("threshold", _THRESHOLD_ABSENT)),
        ),
    },
    _one_bypass,
)

tracking_settings = object_of(
    {
        "click_tracking": object_of(
            {
                "enable": _enable("The click tracking enable param should be a boolean value."),
                "enable_text": _enable("The click tracking enable text must be a boolean value."),
            }
        ),
        "ganalytics": object_of(
            {
                "enable": _enable("The Google Analytics enable param must be a boolean value."),
                **{
                    name: _words(f"The Google Analytics {name} must be a string value.")
                    for name in ("utm_campaign", "utm_content", "utm_medium", "utm_source", "utm_term")
                },
            }
        ),
        "open_tracking": object_of(
            {
                "enable": _enable("The open tracking enable param should be a boolean value."),
                "substitution_tag": _words("The open tracking substitution tag must be a string."),
            }
        ),
        "subscription_tracking": object_of(
            {
                "enable": _enable("The subscription tracking enable param should be a boolean value."),
                "html": _words(_UNSUBSCRIBE.format("text/html")),
                "substitution_tag": _words("The subscription tracking substitution tag must be a string value."),
                "text": _words(_UNSUBSCRIBE.format("text/plain") + " "),
            }
        ),
    }
)
