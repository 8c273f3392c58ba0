"""Mail from Flask. Run it with `flask --app flask_app run`."""

from flask import Flask, request

from producers import InvalidMail, Postroom, QueueUnavailable, UnknownId

app = Flask(__name__)
postroom = Postroom()


@app.post("/welcome")
def welcome():
    mail = {
        "personalizations": [{"to": [{"email": request.form["address"]}]}],
        "from": {"email": "hello@example.com"},
        "subject": "Welcome",
        "content": [{"type": "text/plain", "value": "It is good to have you here."}],
    }
    # With a key it is one mail for each address, however often it is asked for.
    return {"id": postroom.enqueue(mail, key=f"welcome {request.form['address']}")}, 202


@app.get("/mails/<id>")
def show(id):
    return {"id": id, "state": postroom.status(id).state}


@app.errorhandler(InvalidMail)
@app.errorhandler(UnknownId)
def refuse(error):
    return {"detail": str(error)}, 404 if isinstance(error, UnknownId) else 422


@app.errorhandler(QueueUnavailable)
def unavailable(_error):
    return {"detail": "No mail can be sent right now. Please try again."}, 503
