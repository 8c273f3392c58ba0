"""Attribute: what anymail's users set on a message beside Django's own. Pure.

https://anymail.dev/en/stable/sending/anymail_additions/ describes them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from django.utils.functional import Promise

from postroom.errors import Fault, InvalidMail

#: SendGrid writes the envelope itself, so there is nothing that could be asked of it.
NO_ENVELOPE = "SendGrid chooses the envelope sender itself; for a domain of yours, set up a return path at SendGrid."
NO_DICT = "This must be a dict."
NO_DICTS = "This must be a dict, and have a dict for each recipient."
X_SMTPAPI = "This is of SendGrid's v2 API. The v3 API has fields of its own for what it says."


class Attributes(NamedTuple):
    """None is not set. Of these, `merge_data`, `merge_metadata` and `merge_headers` are by recipient."""

    metadata: dict[str, Any] | None = None
    tags: list[Any] | None = None
    template_id: Any = None
    merge_data: dict[str, Any] | None = None
    merge_global_data: dict[str, Any] | None = None
    merge_metadata: dict[str, Any] | None = None
    merge_headers: dict[str, Any] | None = None
    send_at: Any = None
    track_opens: Any = None
    track_clicks: Any = None
    esp_extra: dict[str, Any] | None = None
    envelope_sender: Any = None

    @classmethod
    def of(cls, message: Any, defaults: Mapping[str, Any]) -> Self:
        """Those of a message, over the site's defaults. Raises `InvalidMail`, with all faults."""
        values = {name: _value(message, name, defaults) for name in cls._fields}
        faults = [Fault(name, NO_DICT) for name in _DICTS if not _is_dict(values[name])]
        faults += [Fault(name, NO_DICTS) for name in _BY_RECIPIENT if not _are_dicts(values[name])]
        if values["envelope_sender"] is not None:
            faults.append(Fault("envelope_sender", NO_ENVELOPE))
        if _is_dict(values["esp_extra"]) and "x-smtpapi" in (values["esp_extra"] or {}):
            faults.append(Fault("esp_extra.x-smtpapi", X_SMTPAPI))
        if faults:
            raise InvalidMail(faults)
        return cls(**values)

    @property
    def are_by_recipient(self) -> bool:
        """Whether each recipient gets a mail of their own, which names no other."""
        return (self.merge_data, self.merge_metadata, self.merge_headers) != (None, None, None)


_DICTS = ("metadata", "merge_global_data", "esp_extra")
_BY_RECIPIENT = ("merge_data", "merge_metadata", "merge_headers")


def _is_dict(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _are_dicts(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_dict, value.values())))


def _value(message: Any, name: str, defaults: Mapping[str, Any]) -> Any:
    """Anymail marks what is not set by a class; a None of the message's own takes the default away."""
    default = _read(name, defaults.get(name))
    own = getattr(message, name, type)
    if isinstance(own, type):
        return default
    own = _read(name, own)
    if name == "tags" and own is not None:
        return [*(default or ()), *own]
    return _over(default, own)


def _read(name: str, value: Any) -> Any:
    """A single tag need not be in a list."""
    value = plain(value)
    return [value] if name == "tags" and isinstance(value, str) else value


def merged(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    """The upper dict over the lower one, and so with the dicts in them."""
    return lower | {name: _over(lower.get(name), value) for name, value in upper.items()}


def _over(lower: Any, upper: Any) -> Any:
    return merged(lower, upper) if isinstance(lower, dict) and isinstance(upper, dict) else upper


def plain(value: Any) -> Any:
    """The value as it is now: lazy translations become text, and no dict or list is shared with the message."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, Mapping):
        return {plain(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


def texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as strings, which is all that SendGrid takes here. Whatever else is no string, its rules will name."""
    return {name: str(value) if isinstance(value, (int, float)) else value for name, value in values.items()}
