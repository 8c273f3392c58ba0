"""URLs: a shop whose orders are confirmed by mail."""

from asgiref.sync import sync_to_async
from django.core.mail import send_mail
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

MAIL = ("Your order", "Thank you.", None, ["buyer@example.com"])


def order(request: HttpRequest) -> HttpResponse:
    send_mail(*MAIL)
    if "fails" in request.GET:
        raise RuntimeError("Out of stock")
    return HttpResponse("in a transaction" if connection.in_atomic_block else "in none")


@transaction.non_atomic_requests
def order_by_hand(request: HttpRequest) -> HttpResponse:
    return order(request)


async def order_async(request: HttpRequest) -> HttpResponse:
    await sync_to_async(send_mail)(*MAIL)
    return HttpResponse("sent")


urlpatterns = [
    path("order", order),
    path("order-by-hand", order_by_hand),
    path("order-async", order_async),
]
