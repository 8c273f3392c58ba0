"""Mail from Django, in one file. Run it with `gunicorn django_app`."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from producers import InvalidMail, Postroom, QueueUnavailable, UnknownId

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="change me", ALLOWED_HOSTS=["127.0.0.1", "localhost"])
postroom = Postroom()


def welcome(request):
    mail = {
        "personalizations": [{"to": [{"email": request.POST["address"]}]}],
        "from": {"email": "hello@example.com"},
        "subject": "Welcome",
        "content": [{"type": "text/plain", "value": "It is good to have you here."}],
    }
    try:
        # With a key it is one mail for each address, however often it is asked for.
        id = postroom.enqueue(mail, key=f"welcome {request.POST['address']}")
    except InvalidMail as error:
        return JsonResponse({"detail": str(error)}, status=422)
    except QueueUnavailable:
        return JsonResponse({"detail": "No mail can be sent right now. Please try again."}, status=503)
    return JsonResponse({"id": id}, status=202)


def show(_request, id):
    try:
        return JsonResponse({"id": id, "state": postroom.status(id).state})
    except UnknownId as error:
        return JsonResponse({"detail": str(error)}, status=404)


urlpatterns = [path("welcome", welcome), path("mails/<str:id>", show)]
application = get_wsgi_application()
