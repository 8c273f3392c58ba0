"""Signatures: what SendGrid has signed is taken, and nothing else."""

import base64
import json
from itertools import cycle, islice
from random import Random
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sendgrid import EventWebhook

from postroom.errors import ConfigurationError
from producers.webhook import Signatures
from tests.webhook import SIGNATURE, TIMESTAMP, Signer, body_of, event

#: The vector of SendGrid's own libraries (sendgrid-python, test/unit/test_eventwebhook.py).
KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA"
    "3F+g=="
)
GOOD = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
TIME = "1600112502"
DROPPED = {
    "email": "hello@world.com",
    "event": "dropped",
    "reason": "Bounced Address",
    "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
    "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
    "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
    "timestamp": 1600112492,
}
BODY = json.dumps([DROPPED], sort_keys=True, separators=(",", ":")).encode() + b"\r\n"
#: The other key of the same test.
OTHER_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1O"
    "PzpA=="
)

MUTATIONS = 10_000


class Post(NamedTuple):
    key: str = KEY
    signature: str = GOOD
    timestamp: str = TIME
    body: bytes = BODY

    def holds(self) -> bool:
        return Signatures(self.key).hold(self.signature, self.timestamp, self.body)


def test_sendgrids_own_vector_holds() -> None:
    assert Post().holds()
    assert Post(key=f"{OTHER_KEY}, {KEY}").holds()


@pytest.mark.parametrize(
    "wrong",
    [
        Post(key=OTHER_KEY),
        Post(body=b"payload"),
        Post(body=BODY.rstrip()),
        Post(body=b""),
        Post(timestamp="timestamp"),
        Post(timestamp="1600112503"),
        Post(timestamp=""),
        Post(timestamp="१६००११२५०२"),
        Post(timestamp=TIME + BODY[:1].decode(), body=BODY[1:]),
        Post(
            signature="MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH3j/0="
        ),
    ],
)
def test_what_is_changed_does_not_hold(wrong: Post) -> None:
    assert not wrong.holds()


@pytest.mark.parametrize(
    "malformed",
    [
        *("", "=", "====", "no base64", "ä", "\x00", "M", GOOD[:-1], GOOD + "=", GOOD + "\n", " " + GOOD, "A" * 4096),
        *(GOOD.replace("+", "-"), GOOD.replace("M=", "N="), base64.b64encode(b"\x30\x00").decode()),
        *(base64.b64encode(base64.b64decode(GOOD) + b"\x00").decode(), base64.b64encode(bytes(64)).decode()),
    ],
)
def test_a_malformed_signature_is_no_error(malformed: str) -> None:
    assert not Post(signature=malformed).holds()


def test_a_missing_header_is_no_error() -> None:
    signatures = Signatures(KEY)

    assert not signatures.hold(None, TIME, BODY)
    assert not signatures.hold(GOOD, None, BODY)


def test_ten_thousand_mutations_do_not_hold() -> None:
    """One bit of the signature's bytes, one character of its text, one of the timestamp, one byte of the body."""
    random, signatures = Random(5), Signatures(KEY)
    mutate = cycle([_one_bit_of_the_signature, _one_character_of_it, _one_of_the_timestamp, _one_byte_of_the_body])

    for change in islice(mutate, MUTATIONS):
        mutant = change(random)
        assert mutant != Post()
        assert not signatures.hold(mutant.signature, mutant.timestamp, mutant.body), mutant


def _one_bit_of_the_signature(random: Random) -> Post:
    data = bytearray(base64.b64decode(GOOD))
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return Post(signature=base64.b64encode(data).decode())


def _one_character_of_it(random: Random) -> Post:
    place = random.randrange(len(GOOD))
    other = random.choice([c for c in map(chr, range(256)) if c != GOOD[place]])
    return Post(
        signature=random.choice([GOOD[:place] + other + GOOD[place + 1 :], GOOD[:place] + other + GOOD[place:]])
    )


def _one_of_the_timestamp(random: Random) -> Post:
    place = random.randrange(len(TIME))
    other = random.choice([c for c in map(chr, range(256)) if c != TIME[place]])
    return Post(timestamp=random.choice([TIME[:place] + other + TIME[place + 1 :], TIME[:place] + TIME[place + 1 :]]))


def _one_byte_of_the_body(random: Random) -> Post:
    data = bytearray(BODY)
    data[random.randrange(len(data))] ^= random.randrange(1, 256)
    return Post(body=random.choice([bytes(data), BODY[: random.randrange(len(BODY))], BODY + bytes(data[:1])]))


def test_mutated_keys_are_other_keys_or_none() -> None:
    der, random, refused = base64.b64decode(KEY), Random(5), 0
    for _ in range(MUTATIONS):
        data = bytearray(der)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        try:
            assert not Post(key=base64.b64encode(data).decode()).holds()
        except ConfigurationError:
            refused += 1
    assert refused > MUTATIONS / 2  # mostly it is no point of the curve


@pytest.mark.parametrize("events", [1, 3_000])
def test_sendgrids_own_client_agrees(events: int) -> None:
    signer = Signer()
    body = body_of(*[event("a" * 20)] * events)
    headers = signer.sign(body)

    assert Signatures(signer.public_key).hold(headers[SIGNATURE], headers[TIMESTAMP], body)
    theirs = EventWebhook(signer.public_key)
    assert theirs.verify_signature(body.decode(), headers[SIGNATURE], headers[TIMESTAMP])


def test_bytes_that_are_no_text_can_be_signed() -> None:
    signer = Signer()
    body = b'[{"email": "\xff\xfe"}]'
    headers = signer.sign(body)

    assert Signatures(signer.public_key).hold(headers[SIGNATURE], headers[TIMESTAMP], body)


def _shown(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        *("", ",", "nonsense", "SG.key", KEY[:-4], KEY + "AAAA", f"{KEY}, nonsense"),
        pytest.param(_shown(ec.generate_private_key(ec.SECP384R1())), id="another curve"),
        pytest.param(_shown(rsa.generate_private_key(65_537, 2048)), id="RSA"),
        pytest.param(_shown(ed25519.Ed25519PrivateKey.generate()), id="Ed25519"),
    ],
)
def test_another_thing_than_a_key_is_told_at_the_start(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="POSTROOM_WEBHOOK_KEY"):
        Signatures(wrong)


def test_a_key_may_be_broken_into_lines() -> None:
    assert Post(key=f"{KEY[:64]}\n{KEY[64:]}\n").holds()
