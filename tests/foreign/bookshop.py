"""A bookshop, by somebody who uses Postroom."""

from flask import Flask, request

from producers import AsyncPostroom, Postroom, QueueUnavailable

app = Flask(__name__)
postroom = Postroom()
for_asyncio = AsyncPostroom()


def mail(to, subject, text, **more):
    return {
        "personalizations": [{"to": [{"email": to}]}],
        "from": {"email": "shop@example.com", "name": "The Bookshop"},
        "subject": subject,
        "content": [{"type": "text/plain", "value": text}],
        **more,
    }


@app.post("/orders")
def order():
    number, buyer = request.form["number"], request.form["buyer"]
    receipt = mail(buyer, f"Your order {number}", "Thank you.", categories=["receipt"])
    try:
        id = postroom.enqueue(receipt, key=f"order {number}")
        postroom.enqueue(mail("packing@example.com", f"Pack {number}", "Now."), lane="bulk")
    except QueueUnavailable:
        return {"detail": "Please try again."}, 503
    return {"id": id}, 202


@app.get("/mails/<id>")
def show(id):
    return {"state": postroom.status(id).state}


def newsletter(readers, **options):
    return postroom.enqueue_batch((mail(reader, "News", "We have new books.") for reader in readers), **options)


async def recommend(reader):
    return await for_asyncio.enqueue(mail(reader, "You may like this", "A book."))


def remind(reader, template="d-reminder"):
    """By a template at SendGrid."""
    personalization = {"to": [{"email": reader}], "dynamic_template_data": {"reader": {"name": "Ann", "books": 2}}}
    return postroom.enqueue(
        {"personalizations": [personalization], "from": {"email": "shop@example.com"}, "template_id": template}
    )


def invite(readers):
    """One request for all of them."""
    template = {key: value for key, value in mail("", "Come", "A reading.").items() if key != "personalizations"}
    return postroom.enqueue_merge(template, readers)
