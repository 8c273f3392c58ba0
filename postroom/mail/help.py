"""Help: the address that SendGrid's errors give for a field."""

import re

HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."


def help_of(field: str, message: str) -> str | None:
    """The address for a field's error, or None where there is none.

    It leaves out indices and a last `email`: `personalizations.0.to.0.email` is explained at `personalizations.to`.
    A personalization as a whole has no page; its duplicates are explained at `recipient-errors`. (Seen in its answers:
    sendgrid-ruby issue 507, sendgrid-php issues 869 and 972.)
    """
    if re.fullmatch(r"personalizations\.\d+", field):
        return HELP + "recipient-errors" if "unique" in message else None
    names = [name for name in field.split(".") if not name.isdigit()]
    if names[-1] == "email":
        names.pop()
    return HELP + ".".join(names) if names and names[0] else None
