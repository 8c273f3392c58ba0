"""Merge: takes the recipients of one template, as an intake takes mails."""

import hashlib
import time
from typing import Any

from postroom import mail as mails
from postroom.errors import InvalidMail
from postroom.mail import MailLike, RecipientLike, merging
from postroom.mail.encoding import canonical, encode
from postroom.mail.limits import MAIL_BYTES, RECIPIENTS
from postroom.mail.source import check_size
from postroom.payload import merged
from postroom.settings import Settings
from postroom.terms import Terms
from producers.intake import Taken, faults_of_site

#: The most recipients (to, cc and bcc) that SendGrid takes in one request.
MOST_A_REQUEST = RECIPIENTS


class Merge:
    """A template, checked, and ready to take recipients. Raises `InvalidMail` for what is wrong with the template."""

    def __init__(self, template: MailLike, terms: Terms, settings: Settings) -> None:
        body = merging.load_template(template)
        self._redirect_to = settings.redirect_to
        self._domains = None if settings.redirect_to else settings.domains
        self._terms = terms
        faults = merging.template_faults(body, now=time.time())
        if faults := [*faults, *faults_of_site(body, terms, self._domains)]:
            raise InvalidMail(faults)
        self.digest = hashlib.sha256(b"merge" + canonical(body)).digest()
        self._shared = merging.shared_with_recipients(body)
        if self._redirect_to:
            body = mails.redirect(body, self._redirect_to)
            del body["personalizations"]
        self.template = encode(body)
        #: What its personalizations may come to in one request.
        self.most_bytes = MAIL_BYTES - len(merged(self.template, ()))

    def take(self, recipient: RecipientLike, id: str, *, digest: bool = False) -> Taken:
        """A personalization as it goes on the wire. Raises `InvalidMail` with all faults."""
        personalization = merging.load_recipient(recipient)
        alone: dict[str, Any] = {"personalizations": [personalization]}
        faults = merging.recipient_faults(personalization, self._shared, now=time.time())
        if faults := [*faults, *faults_of_site(alone, self._terms, self._domains)]:
            raise InvalidMail(faults)
        digested = hashlib.sha256(canonical(personalization)).digest() if digest else b""
        if self._redirect_to:
            alone = mails.redirect(alone, self._redirect_to)
        body = merging.marked_recipient(alone["personalizations"][0], self._shared, id)
        check_size(MAIL_BYTES - self.most_bytes + len(body))
        return Taken(body, digested, mails.count_recipients(alone))
