"""Recipients: who a body goes to, and who it may go to in staging."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from postroom.errors import Fault
from postroom.mail import limits
from postroom.mail.addresses import domain_of
from postroom.mail.checks import quoted

FIELDS = ("to", "cc", "bcc")


def personalizations(body: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The personalizations, with their index. Skips what is no object."""
    found = body.get("personalizations")
    if isinstance(found, list):
        for number, each in enumerate(found):
            if isinstance(each, dict):
                yield number, each


def emails(listed: Any) -> Iterator[tuple[int, str]]:
    """The addresses in a list of address objects, with their index. Skips what is none."""
    if isinstance(listed, list):
        for index, each in enumerate(listed):
            if isinstance(each, dict) and isinstance(value := each.get("email"), str):
                yield index, value


def recipients(body: dict[str, Any]) -> Iterator[str]:
    """Every to, cc and bcc address, its domain in lower case, as often as it occurs."""
    for _, personalization in personalizations(body):
        for field in FIELDS:
            for _, value in emails(personalization.get(field)):
                local, at, domain = value.rpartition("@")
                yield f"{local}{at}{domain.lower()}"


def redirect(body: dict[str, Any], address: str) -> dict[str, Any]:
    """A new body that goes to `address` and nobody else: for staging.

    Each personalization's `to` is that address without a name; every cc and bcc is gone, that of the bcc mail setting
    too.
    """
    redirected = {**body, "personalizations": [_redirected(each, address) for _, each in personalizations(body)]}
    settings = body.get("mail_settings")
    if isinstance(settings, dict) and "bcc" in settings:
        redirected["mail_settings"] = {name: value for name, value in settings.items() if name != "bcc"}
    return redirected


def _redirected(personalization: dict[str, Any], address: str) -> dict[str, Any]:
    others = {name: value for name, value in personalization.items() if name not in FIELDS}
    return {"to": [{"email": address}], **others}


def domain_faults(body: dict[str, Any], domains: frozenset[str]) -> list[Fault]:
    """The recipients outside of these domains (in lower case; a subdomain is another domain): for staging."""
    return [
        Fault(field, f"{domain_of(value)} is not among the domains of POSTROOM_ALLOW_DOMAINS.")
        for field, value in _reached(body)
        if domain_of(value) not in domains
    ]


def _reached(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every address that gets the mail, with its path: the bcc mail setting sends a copy of all of it as well."""
    for number, personalization in personalizations(body):
        for field in FIELDS:
            for index, value in emails(personalization.get(field)):
                yield f"personalizations.{number}.{field}.{index}.email", value
    settings = body.get("mail_settings")
    copy = settings.get("bcc") if isinstance(settings, dict) else None
    if isinstance(copy, dict) and copy.get("enable") and isinstance(copy.get("email"), str):
        yield "mail_settings.bcc.email", copy["email"]


def count(body: dict[str, Any]) -> int:
    """How many to, cc and bcc there are in all."""
    return sum(
        len(listed)
        for _, personalization in personalizations(body)
        for field in FIELDS
        if isinstance(listed := personalization.get(field), list)
    )


def too_many(body: dict[str, Any]) -> Iterator[Fault]:
    if count(body) > limits.RECIPIENTS:
        yield Fault("personalizations", "There is a limit of 1000 total recipients (to + cc + bcc) per request.")


def repeated(number: int, personalization: dict[str, Any]) -> Iterator[Fault]:
    """The addresses that a personalization has more than once, in whatever case, be it in to, cc or bcc.

    The text is a live one. SendGrid documents another, which it does not use: "Each unique email address in the
    personalization block should only be included once. You have included [email address] more than once."
    """
    block = f"personalizations.{number}"
    times: Counter[str] = Counter()
    for field in FIELDS:
        for _, value in emails(personalization.get(field)):
            times[value.lower()] += 1
            if times[value.lower()] == 2:
                yield Fault(
                    block,
                    "Each email address in the personalization block should be unique between to, cc, and bcc. "
                    f"We found the first duplicate instance of {quoted(value)} in the {block}.{field} field.",
                )
