"""Address: what SendGrid takes as an e-mail address, alone and in an address object."""

import re
from collections.abc import Sequence
from typing import Any

from postroom.errors import Fault
from postroom.mail.checks import Check, fault, line, object_of, required, wrong_type
from postroom.mail.limits import ADDRESS_LENGTH

EXAMPLE = 'e.g. {"email": "example@example.com"} or {"email": "example@example.com", "name": "Example Recipient"}'

#: What SendGrid says of an address that is none. Its documentation lacks this text.
INVALID = "Does not contain a valid address."

#: SendGrid answers 202 and drops the mail as invalid (sendgrid/sendgrid-csharp#656): nobody would notice.
NON_ASCII = "SendGrid drops mail to an address with non-ASCII characters before the @."

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])+"'
_LABEL = r"[^\s\x00-,./:-@\[-^`{-\xa0]+"
_DOMAIN = rf"@{_LABEL}(?:\.{_LABEL})*"

#: RFC 5322's dot-atom or quoted string before the @, labels of any script after it. SendGrid sends to no dots in other
#: places, unless quoted, and to no IP address (https://support.sendgrid.kke.co.jp/hc/ja/articles/360000019762).
ADDRESS = rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED}){_DOMAIN}"

_is_address = re.compile(ADDRESS).fullmatch
_is_non_ascii = re.compile(rf"[^\s\x00-\x1f\"(),:;<>@\[\\\]\x7f]+{_DOMAIN}").fullmatch


def email(role: str, absent: str, invalid: str = INVALID) -> Check:
    """The check of an address. `role` is SendGrid's name of its place: To, CC, BCC, From or Reply-To."""
    too_long = f"The {role} email exceeds the maximum total length of {ADDRESS_LENGTH} characters"

    def checked(value: Any) -> Sequence[Fault]:
        if not isinstance(value, str):
            return wrong_type("string", value)
        if len(value) > ADDRESS_LENGTH:
            return fault(too_long)
        if _is_address(value):
            return ()
        if not value:
            return fault(absent)
        return fault(NON_ASCII if not value.isascii() and _is_non_ascii(value) else invalid)

    return checked


def address_of(role: str, absent: str, invalid: str = INVALID) -> Check:
    """The check of an address object: its `email`, and its `name` if there is one."""
    return object_of({"email": email(role, absent, invalid), "name": line}, required("email", absent))


def domain_of(address: str) -> str:
    """What stands after the @, in lower case."""
    return address.rpartition("@")[2].lower()
