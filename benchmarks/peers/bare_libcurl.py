"""The limit: a loop that posts ready bytes by libcurl, 32 at a time, and looks at nothing but the status.

After pycurl's own example `retriever-multi.py`, with its handles used again. No queue, no ledger, no retry.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

import pycurl

AT_ONCE = 32
HEADERS = [f"Authorization: Bearer {os.environ['SENDGRID_API_KEY']}", "Content-Type: application/json", "Expect:"]


def prepare(mails: Sequence[dict[str, Any]]) -> list[bytes]:
    """Ready bytes; this is not measured."""
    return [json.dumps(mail).encode() for mail in mails]


def handle() -> pycurl.Curl:
    easy = pycurl.Curl()
    easy.setopt(pycurl.URL, f"{os.environ['SENDGRID_URL']}/v3/mail/send")
    easy.setopt(pycurl.CAINFO, os.environ["SSL_CERT_FILE"])
    easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    easy.setopt(pycurl.PIPEWAIT, 1)
    easy.setopt(pycurl.PROXY, "")
    easy.setopt(pycurl.HTTPHEADER, HEADERS)
    easy.setopt(pycurl.WRITEFUNCTION, len)
    return easy


multi = pycurl.CurlMulti()
multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
idle = [handle() for _ in range(AT_ONCE)]


def enqueue_all(bodies: Sequence[bytes]) -> None:
    waiting, busy = iter(bodies), 0
    while True:
        while idle and (body := next(waiting, None)) is not None:
            idle[-1].setopt(pycurl.POSTFIELDS, body)
            multi.add_handle(idle.pop())
            busy += 1
        if not busy:
            return
        multi.perform()
        _, good, bad = multi.info_read(AT_ONCE)
        for easy in good:
            assert easy.getinfo(pycurl.RESPONSE_CODE) == 202, easy.getinfo(pycurl.RESPONSE_CODE)
            multi.remove_handle(easy)
            idle.append(easy)
        assert not bad, bad
        busy -= len(good)
        if not good:
            multi.select(1.0)
