"""Attachment: a Django message's attachments as SendGrid's. Pure."""

import mimetypes
from base64 import b64encode
from contextlib import suppress
from email import policy
from email.message import Message
from email.utils import unquote
from typing import Any, NamedTuple

from postroom.errors import Fault, InvalidMail

#: For a mail in a mail.
_MAIL = policy.SMTP.clone(cte_type="7bit")
_UNKNOWN = "application/octet-stream"

NO_TEXT = "This text cannot be written in UTF-8. Attach it as bytes."


class File(NamedTuple):
    content: bytes
    type: str
    name: str
    content_id: str = ""

    def to_json(self) -> dict[str, str]:
        """SendGrid wants a name for each file, and one that is shown in the mail to have a content id."""
        extension = mimetypes.guess_extension(self.type.partition(";")[0]) or ""
        attachment = {
            "content": b64encode(self.content).decode(),
            "type": self.type,
            "filename": self.name or f"attachment{extension}",
        }
        inline = {"disposition": "inline", "content_id": self.content_id}
        return attachment | inline if self.content_id else attachment


def attachments(listed: list[Any]) -> list[dict[str, str]]:
    """Each is a MIME part, or a tuple of file name, content and perhaps MIME type. Raises `InvalidMail`."""
    return [_file(number, each).to_json() for number, each in enumerate(listed)]


def _file(number: int, attachment: Any) -> File:
    if isinstance(attachment, Message):
        return _file_of_part(attachment)
    name, content, kind = (*attachment, None)[:3]
    if hasattr(content, "message"):  # a Django message
        content = content.message()
    kind = kind or _guessed(name, content)
    text = "" if name is None else str(name)
    if isinstance(content, Message):
        return File(Message.as_bytes(content, policy=_MAIL), kind, text)
    if isinstance(content, (bytes, bytearray, memoryview)):
        return File(bytes(content), _kind_of_bytes(bytes(content), kind), text)
    if content is None or isinstance(content, (int, float, list, dict)):
        raise InvalidMail([Fault(f"attachments.{number}", f"A {type(content).__name__} is no content of a file.")])
    try:
        return File(str(content).encode(), _in_utf8(kind), text)
    except UnicodeEncodeError:
        raise InvalidMail([Fault(f"attachments.{number}", NO_TEXT)]) from None


def _kind_of_bytes(content: bytes, kind: str) -> str:
    """A text that is neither UTF-8 nor has a charset could not be read: as in Django, it is a file like any other."""
    if _in_utf8(kind) == kind:
        return kind
    try:
        content.decode()
    except UnicodeDecodeError:
        return _UNKNOWN
    return _in_utf8(kind)


def _in_utf8(kind: str) -> str:
    return f'{kind}; charset="utf-8"' if kind.startswith("text/") and "charset" not in kind else kind


def _guessed(name: Any, content: Any) -> str:
    if isinstance(content, Message):
        return "message/rfc822"
    return mimetypes.guess_type(str(name))[0] or _UNKNOWN


def _file_of_part(part: Message) -> File:
    content: Any = part.get_payload(decode=True)
    kind = " ".join(str(part.get("Content-Type", part.get_content_type())).split())
    if content is None:  # a mail, or several parts
        inner: Any = part.get_payload(0) if part.get_content_type() == "message/rfc822" else part
        content = Message.as_bytes(inner, policy=_MAIL)
    charset = part.get_content_charset("utf-8")
    if part.get_content_maintype() == "text" and charset not in ("utf-8", "us-ascii"):
        # SendGrid drops the charset (https://github.com/anymail/django-anymail/issues/150), so only UTF-8 will be read.
        with suppress(LookupError):
            content, kind = content.decode(charset, "replace").encode(), f'{part.get_content_type()}; charset="utf-8"'
    return File(content, kind, part.get_filename() or "", _content_id(part))


def _content_id(part: Message) -> str:
    """What an `<img src="cid:…">` names; of a file that is only attached, none."""
    is_inline = part.get_content_disposition() in ("inline", None)
    return unquote(str(part.get("Content-ID", "")).strip()) if is_inline else ""
