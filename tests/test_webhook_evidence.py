"""Evidence, from SendGrid to the ledger: mails whose 202 was lost on the wire turn out to be accepted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from producers import Progress
from tests.gateway import Gateway
from tests.mails import mail, mails
from tests.servers import SandboxServer, eventually, running
from tests.stack import Stack, running_stack
from tests.webhook import WebhookDoor

MAILS = 1_000
#: The shortest that the settings allow.
TIMES = {"POSTROOM_REQUEST_DEADLINE": "1", "POSTROOM_GRACE": "11"}


class Place(NamedTuple):
    stack: Stack
    door: WebhookDoor

    @property
    def sandbox(self) -> SandboxServer:
        return self.stack.sandbox

    def told(self) -> int:
        """How many events the door has taken."""
        return int(self._ask("GET").json()["events"])

    def lost(self) -> int:
        """How many events the sandbox will never post."""
        return int(self._ask("GET").json()["lost"])

    def post_events(self, **how: object) -> None:
        """Have the sandbox post its events to the door."""
        self._ask("PUT", {"url": self.door.url, **how})

    def _ask(self, method: str, body: object = None) -> httpx.Response:
        url = f"{self.sandbox.url}/api/webhook"
        return httpx.request(method, url, json=body, trust_env=False, verify=False).raise_for_status()

    def lose_answers(self) -> None:
        """From now on SendGrid accepts, and its answer never gets there."""
        self.sandbox.faults([{"fault": "accept_then_reset"}])

    def progress(self, batch: str) -> Progress:
        return self.stack.postroom.progress(batch)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running_stack(tmp_path, **TIMES) as stack:
        key = httpx.get(f"{stack.sandbox.url}/api/webhook", trust_env=False, verify=False).json()["public_key"]
        with running(WebhookDoor(tmp_path, stack.redis.url, key)) as door:
            yield Place(stack, door)


def test_with_the_webhook_every_lost_answer_is_made_up_for(place: Place) -> None:
    """Although the events themselves come repeatedly, out of order, and in part never."""
    place.post_events(times=3, reorder=1, loss=0.2)
    place.lose_answers()

    batch = place.stack.postroom.enqueue_batch(mails(MAILS), on_doubt="hold").id
    eventually(lambda: sum(place.stack.copies().values()) == MAILS, timeout=60)
    eventually(lambda: place.told() == 3 * (2 * MAILS - place.lost()), timeout=30)

    # Of some mails both events are lost. Those are sent no second time; what SendGrid tells of them later settles them.
    ids = place.stack.batch_ids(batch)
    lost = [id for id in ids if not place.stack.postroom.status(id).deliveries]
    assert 0 < len(lost) < MAILS / 10
    assert place.progress(batch).accepted == MAILS - len(lost)
    place.stack.postroom.evidence([{"postroom_id": id, "event": "open"} for id in lost])

    progress = place.progress(batch)
    assert (progress.accepted, progress.is_final) == (MAILS, True)
    assert progress.deliveries.processed + progress.deliveries.delivered == MAILS - len(lost)
    assert place.stack.copies() == dict.fromkeys(ids, 1)
    assert place.stack.postroom.report(batch).extra_copies == 0


def test_all_accepted_when_all_events_come(place: Place) -> None:
    place.post_events()
    place.lose_answers()

    batch = place.stack.postroom.enqueue_batch(mails(MAILS), on_doubt="hold").id
    report = place.stack.postroom.wait(batch, timeout=90)
    eventually(lambda: place.progress(batch).deliveries.delivered == MAILS, timeout=30)

    assert report.counts["accepted"] == MAILS
    assert place.stack.copies() == dict.fromkeys(place.stack.batch_ids(batch), 1)


def test_without_it_they_end_unresolved_and_later_evidence_settles_them(place: Place) -> None:
    place.post_events(delay=25)
    place.lose_answers()

    batch = place.stack.postroom.enqueue_batch(mails(100), on_doubt="hold").id
    report = place.stack.postroom.wait(batch, timeout=60)
    assert report.counts["unresolved"] == 100
    assert {failure.state for failure in report.failed} == {"unresolved"}

    eventually(lambda: place.progress(batch).accepted == 100, timeout=60)
    eventually(lambda: place.progress(batch).deliveries.delivered == 100)

    report = place.stack.postroom.report(batch)
    assert report.counts["unresolved"] == 100  # the report is a snapshot,
    assert report.changed_since is not None  # and says that it has been overtaken
    assert place.stack.copies() == dict.fromkeys(place.stack.batch_ids(batch), 1)


def test_an_ordinary_mail_is_accepted_and_then_delivered(place: Place) -> None:
    place.post_events()

    ids = {to: place.stack.postroom.enqueue(mail(to)) for to in ("ann@example.com", "bounce+1@sandbox.test")}
    for id in ids.values():
        eventually(lambda id=id: len(place.stack.postroom.status(id).deliveries) == 1)
    states = {to: lambda id=id, to=to: place.stack.postroom.status(id).delivery_to(to) for to, id in ids.items()}

    eventually(lambda: states["ann@example.com"]().state == "delivered")
    eventually(lambda: states["bounce+1@sandbox.test"]().state == "bounced")
    assert "bounce+1@sandbox.test" in states["bounce+1@sandbox.test"]().reason
    assert "sandbox.test" not in place.door.log()


def test_through_the_gateway_a_mail_goes_out_and_its_events_come_home(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        hook = f"{stack.sandbox.url}/api/webhook"
        key = httpx.get(hook, trust_env=False, verify=False).json()["public_key"]
        with (
            running(Gateway(tmp_path, stack.redis.url, POSTROOM_WEBHOOK_KEY=key)) as gateway,
            gateway.client() as client,
        ):
            events = {"url": f"{gateway.url}/webhooks/sendgrid", "times": 2, "reorder": 0.3}
            httpx.put(hook, json=events, trust_env=False, verify=False).raise_for_status()

            id = client.post("/v3/mail/send", json=mail("bounce+1@sandbox.test")).headers["x-message-id"]
            lines = "\n".join(json.dumps(each) for each in mails(20))
            batch = client.post("/v1/batches", content=lines).json()["batch_id"]

            def deliveries() -> Any:
                return client.get(f"/v1/mails/{id}").json()["deliveries"]

            eventually(lambda: [each["state"] for each in deliveries()] == ["bounced"])
            eventually(lambda: client.get(f"/v1/batches/{batch}").json()["deliveries"]["delivered"] == 20)
            assert client.get(f"/v1/batches/{batch}/report").json()["deliveries"]["delivered"] == 20
            assert {line["status"] for line in gateway.journal() if line["event"] == "webhook"} == {204}
            assert "sandbox.test" not in gateway.log()
            assert "reader" not in gateway.log()
