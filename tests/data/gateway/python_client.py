"""SendGrid's Python client, as its readers are told to use it; only `host` is another. It prints what comes of it."""

import json
import os

from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import (
    Attachment,
    ContentId,
    Disposition,
    FileContent,
    FileName,
    FileType,
    Mail,
    Personalization,
    To,
)

client = SendGridAPIClient(os.environ["SENDGRID_API_KEY"], host=os.environ["GATEWAY"])


def plain(to="ann@example.com", **others):
    parts = {"subject": "Héllo", "plain_text_content": "Hello", "html_content": "<p>Hello ☃</p>", **others}
    return Mail(from_email="shop@example.com", to_emails=to, **parts)


def multiple():
    return plain([To("ann@example.com", "Ann"), To("bob@example.com", "Bob")], is_multiple=True)


def attached():
    mail = plain()
    for name, kind, place in [("a.txt", "text/plain", "attachment"), ("logo.png", "image/png", "inline")]:
        mail.add_attachment(
            Attachment(FileContent("SGVsbG8="), FileName(name), FileType(kind), Disposition(place), ContentId(name))
        )
    return mail


def template():
    mail = Mail(from_email="shop@example.com")
    for name in ("Ann", "Bob"):
        personalization = Personalization()
        personalization.add_to(To(f"{name}@example.com"))
        personalization.dynamic_template_data = {"name": name}
        mail.add_personalization(personalization)
    mail.template_id = "d-12345678901234567890123456789012"
    return mail


def sent(mail):
    try:
        answer = client.send(mail)
        return {"status": answer.status_code, "id": answer.headers["X-Message-Id"]}
    except HTTPError as error:
        return {"status": error.status_code, **error.to_dict}


mails = {
    "single": plain(),
    "multiple": multiple(),
    "attached": attached(),
    "template": template(),
    "faulty": plain(subject=""),
    "foreign": plain(),
}
mails["foreign"].from_email = "shop@example.net"
print(json.dumps({name: sent(mail) for name, mail in mails.items()}))
