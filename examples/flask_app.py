"""Mail from Flask. Run it with `flask --app flask_app run`."""

from flask import Flask, request

from producers.flask import Postroom, answer_errors

app = Flask(__name__)
postroom = Postroom(app)
answer_errors(app)


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
