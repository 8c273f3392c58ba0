"""Classifying: what a reply means for the mail."""

import email.utils
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.outcome import Kind, Outcome
from worker.classify import (
    ERRORS_BYTES_LIMIT,
    ERRORS_LIMIT,
    LONGEST_WAIT,
    SHORTEST_WAIT,
    asks_for_sandbox,
    classify,
    sendgrid_errors,
)
from worker.reply import NOT_STARTED, Reply

NOW = 1_800_000_000.0
WITH_RECEIPT = "X-Message-Id: oVNTAwFSRiS5WPHJzHD5Ig"

# SendGrid's words, as seen in its answers (sendgrid-python issue 954, Twilio's error 60222, the rate limits page).
BAD_GRANT = {"message": "The provided authorization grant is invalid, expired, or revoked", "field": None, "help": None}
UNVERIFIED = {
    "message": "The from address does not match a verified Sender Identity. Mail cannot be sent until this error is "
    "resolved. Visit https://sendgrid.com/docs/for-developers/sending-email/sender-identity/ to see the Sender "
    "Identity requirements",
    "field": "from",
    "help": None,
}
NO_CONTENT = {
    "message": "The content value must be a string at least one character in length.",
    "field": "content.0.value",
    "help": "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message.content.value",
}


def answer(status: int, *headers: str, body: bytes = b"") -> Reply:
    return Reply.answered(status, "\r\n".join([f"HTTP/1.1 {status} X", *headers, "", ""]).encode(), body)


def refusal(status: int, *errors: object, headers: tuple[str, ...] = ()) -> Reply:
    return answer(status, *headers, body=json.dumps({"errors": errors}).encode())


def outcome(reply: Reply, *, sandbox_mode: bool = False) -> Outcome:
    return classify(reply, sandbox_mode=sandbox_mode, now=NOW)


def test_202_with_a_receipt_is_accepted() -> None:
    assert outcome(answer(202, WITH_RECEIPT)) == Outcome(Kind.ACCEPTED, receipt="oVNTAwFSRiS5WPHJzHD5Ig")


@pytest.mark.parametrize("header", ["x-message-id: abc", "X-MESSAGE-ID:abc", "X-Message-Id: \t abc \t"])
def test_a_receipt_is_known_however_its_header_is_written(header: str) -> None:
    assert outcome(answer(202, "Server: nginx", header, "Date: x")).receipt == "abc"


@pytest.mark.parametrize(
    "headers",
    [[], ["X-Message-Id:"], ["X-Message-Id: a b"], ["X-Message-Id: " + "a" * 257], ["Y: X-Message-Id: abc"]],
)
def test_202_without_a_receipt_is_in_doubt(headers: list[str]) -> None:
    assert outcome(answer(202, *headers)) == Outcome(Kind.DOUBT, "no_receipt")


def test_a_receipt_in_an_interim_reply_is_none() -> None:
    head = b"HTTP/1.1 103 Early Hints\r\nX-Message-Id: abc\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n"

    assert outcome(Reply.answered(202, head)).kind is Kind.DOUBT


def test_200_is_accepted_only_from_sendgrids_sandbox_mode() -> None:
    assert outcome(answer(200), sandbox_mode=True) == Outcome(Kind.ACCEPTED)
    assert outcome(answer(200, WITH_RECEIPT)) == Outcome(Kind.DOUBT, "http_200")


@pytest.mark.parametrize("status", [200, 201, 203, 204, 206, 226, 299])
def test_any_other_2xx_is_in_doubt(status: int) -> None:
    assert outcome(answer(status, WITH_RECEIPT)).kind is Kind.DOUBT


@pytest.mark.parametrize("status", [400, 404, 405, 406, 413, 415, 451])
def test_a_bad_mail_is_rejected_with_sendgrids_errors(status: int) -> None:
    assert outcome(refusal(status, NO_CONTENT)) == Outcome(Kind.REJECTED, f"http_{status}", errors=[NO_CONTENT])


@pytest.mark.parametrize("status", [409, 410, 418, 422, 431, 499])
def test_an_unknown_4xx_is_read_like_400(status: int) -> None:
    assert outcome(refusal(status, NO_CONTENT)).kind is Kind.REJECTED


def test_403_about_the_from_address_rejects_the_mail() -> None:
    assert outcome(refusal(403, UNVERIFIED)).kind is Kind.REJECTED
    assert outcome(refusal(403, {"message": UNVERIFIED["message"]})).kind is Kind.REJECTED
    assert outcome(refusal(403, {"message": "Forbidden", "field": "from.email"})).kind is Kind.REJECTED


@pytest.mark.parametrize(
    "reply",
    [
        refusal(401, BAD_GRANT),
        refusal(401, {"message": "Maximum credits exceeded", "field": None, "help": None}),
        refusal(403, {"message": "access forbidden", "field": None, "help": None}),
        refusal(403, {"message": "access forbidden", "field": "fromage"}),
        answer(403, body=b"<html>blocked</html>"),
        answer(403),
        answer(401),
        answer(402),
        answer(407),
    ],
)
def test_what_is_about_the_account_does_not_reject_the_mail(reply: Reply) -> None:
    assert outcome(reply).kind is Kind.REFUSED


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, Kind.RETRY),
        (425, Kind.RETRY),
        (500, Kind.RETRY),
        (503, Kind.UNAVAILABLE),
        (429, Kind.LIMITED),
    ],
)
def test_what_sendgrid_did_not_take_is_tried_again(status: int, kind: Kind) -> None:
    assert outcome(answer(status)) == Outcome(kind, f"http_{status}")


@pytest.mark.parametrize("status", [0, 100, 199, 501, 502, 504, 505, 507, 520, 524, 599, 600, 999])
def test_what_may_come_from_a_proxy_that_passed_the_mail_on_is_in_doubt(status: int) -> None:
    assert outcome(answer(status)) == Outcome(Kind.DOUBT, f"http_{status}")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
def test_a_redirect_is_retried_and_told_as_a_fault_of_the_settings(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert outcome(answer(status, "Location: https://elsewhere.example/")) == Outcome(Kind.RETRY, f"http_{status}")
    assert "POSTROOM_SENDGRID_URL" in caplog.text
    assert "elsewhere" not in caplog.text


def test_what_never_got_out_is_unsent() -> None:
    assert outcome(Reply.unsent("dns_failure", "Could not resolve host")) == Outcome(Kind.UNSENT, "dns_failure")


def test_what_got_no_reply_is_in_doubt() -> None:
    assert outcome(Reply.lost("timeout")) == Outcome(Kind.DOUBT, "timeout")


def test_what_was_never_started_is_released() -> None:
    assert outcome(NOT_STARTED) == Outcome(Kind.RELEASED, "not_started")


def date(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([], None),
        (["X-RateLimit-Reset: 1800000042"], 42),
        (["X-RateLimit-Limit: 600", "X-RateLimit-Remaining: 0", "x-ratelimit-reset: 1800000042"], 42),
        (["X-RateLimit-Reset: 42"], 42),
        (["X-RateLimit-Reset: 1800000042", "Retry-After: 7"], 42),
        (["X-RateLimit-Reset: soon", "Retry-After: 7"], 7),
        (["Retry-After: 7"], 7),
        ([f"Retry-After: {date(NOW + 90)}"], 90),
        (["Retry-After: Friday"], None),
        (["Retry-After: -7"], None),
        (["Retry-After: ²"], None),
        (["Retry-After: 0"], SHORTEST_WAIT),
        (["X-RateLimit-Reset: 1799999000"], SHORTEST_WAIT),
        (["X-RateLimit-Reset: 1800099999"], LONGEST_WAIT),
        (["Retry-After: " + "9" * 5000], LONGEST_WAIT),
    ],
)
def test_a_wait_is_as_long_as_sendgrid_asks(status: int, headers: list[str], wait: float | None) -> None:
    assert outcome(answer(status, *headers)).wait_seconds == wait


def test_a_header_of_endless_blanks_is_read_at_once() -> None:
    blanks = " " * 100_000
    started = time.process_time()

    for name in ("Date", "Retry-After", "X-RateLimit-Reset", "X-Message-Id"):
        outcome(answer(429, f"{name}: a{blanks}b"))

    assert time.process_time() - started < 1


@pytest.mark.parametrize("skew", [-7200, 7200])
def test_a_wait_does_not_depend_on_the_clock_here(skew: float) -> None:
    there = NOW + skew
    reply = answer(429, f"Date: {date(there)}", f"X-RateLimit-Reset: {there + 30:.0f}")

    assert outcome(reply).wait_seconds == 30


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"", None),
        (b" \r\n", None),
        (b"<html>413</html>", [{"message": "<html>413</html>"}]),
        (b"\xff\xfe", [{"message": "\ufffd\ufffd"}]),
        (b"[1, 2]", [{"message": "[1, 2]"}]),
        (b'{"errors": {"message": "x"}}', [{"message": '{"errors": {"message": "x"}}'}]),
        (b'{"errors": []}', [{"message": '{"errors": []}'}]),
        (b'{"errors": ["x", 1, null, {}, {"message": "y", "extra": [1]}]}', [{"message": "x"}, {"message": "y"}]),
        (b'{"errors": [{"message": 1, "field": "from"}]}', [{"field": "from"}]),
        (b'{"errors": [{"message": "x", "field": null}]}', [{"message": "x", "field": None}]),
        (b'{"error": "x"}', [{"message": '{"error": "x"}'}]),
    ],
)
def test_errors_of_any_shape_are_kept_as_far_as_they_can_be_read(
    body: bytes, errors: list[dict[str, Any]] | None
) -> None:
    assert sendgrid_errors(body) == errors


def test_no_more_errors_are_kept_than_a_person_would_read() -> None:
    small = sendgrid_errors(json.dumps({"errors": [NO_CONTENT] * 400}).encode())
    large = sendgrid_errors(json.dumps({"errors": [{"message": "ü" * 5000, "field": "x" * 5000}] * 400}).encode())

    assert small == [NO_CONTENT] * ERRORS_LIMIT
    assert large == [{"message": "ü" * 500, "field": "x" * 1000}] * 2


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["errors", "message", "field"]) | st.text(), inner),
)
any_body = st.binary() | json_values.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 60_000)


@given(
    status=st.integers(0, 999),
    headers=st.lists(
        st.tuples(st.sampled_from(["Retry-After", "X-RateLimit-Reset", "Date", "X-Message-Id"]), st.text())
    ),
    body=any_body,
    sandbox_mode=st.booleans(),
)
def test_no_reply_is_too_odd_to_be_classified(
    status: int, headers: list[tuple[str, str]], body: bytes, sandbox_mode: bool
) -> None:
    reply = answer(status, *(f"{name}: {value}".encode().decode("latin-1") for name, value in headers), body=body)

    result = outcome(reply, sandbox_mode=sandbox_mode)

    accepted = reply.receipt is not None if status == 202 else status == 200 and sandbox_mode
    assert (result.kind is Kind.ACCEPTED) == accepted
    assert result.wait_seconds is None or SHORTEST_WAIT <= result.wait_seconds <= LONGEST_WAIT
    assert len(msgspec.msgpack.encode(result.errors)) < 2 * ERRORS_BYTES_LIMIT
    assert msgspec.json.decode(msgspec.json.encode(result), type=Outcome) == result


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"mail_settings": {"sandbox_mode": {"enable": true}}}', True),
        (b'{"mail_settings": {"sandbox_mode": {"enable": false}}}', False),
        (b'{"mail_settings": {"sandbox_mode": {"enable": "true"}}}', False),
        (b'{"mail_settings": {"sandbox_mode": null}}', False),
        (b'{"mail_settings": [{"sandbox_mode": {"enable": true}}]}', False),
        (b'{"subject": "\\"sandbox_mode\\"", "enable": true}', False),
        (b'{"sandbox_mode": {"enable": true}}', False),
        (b'["sandbox_mode"]', False),
        (b'"sandbox_mode" is no JSON', False),
        (b"{}", False),
    ],
)
def test_sandbox_mode_is_what_the_mail_asks_for_in_its_settings(body: bytes, asks: bool) -> None:
    assert asks_for_sandbox(body) is asks


def test_a_reply_does_not_show_what_it_may_quote() -> None:
    reply = answer(400, "X-Quote: secret@example.com", body=b"secret@example.com")

    assert "secret" not in repr(reply)
    assert "400" in repr(reply)
