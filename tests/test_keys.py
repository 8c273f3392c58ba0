"""Keys: who is let in at the gateway, and what they may do there."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.mail.limits import MAIL_BYTES
from postroom.names import Lane
from postroom.settings import Settings
from producers.gateway.key_store import KeyStore
from producers.gateway.keys import Key, is_key_id, new_key, pack, taken_apart, unpack
from tests.command_line import Ran, postroom
from tests.servers import RedisServer

NOWHERE = "redis://127.0.0.1:1/0"

Run = Callable[..., Ran]


@pytest.fixture
def run(redis_url: str) -> Run:
    """Run `postroom keys …` on the shared Redis."""
    return lambda *words: postroom("keys", *words, POSTROOM_REDIS_URL=redis_url)


def made(**options: object) -> tuple[Key, str]:
    return new_key("shop", **{"from_domains": ["example.com"], "now": 1000.0, **options})  # type: ignore[arg-type]


# A key and its token.


def test_a_token_is_taken_apart_into_the_keys_id_and_its_secret() -> None:
    key, token = made()
    id, secret = taken_apart(token) or ("", "")
    assert id == key.id
    assert is_key_id(id)
    assert key.fits(secret)


def test_a_token_begins_as_sendgrids_do_for_their_node_client_warns_of_others() -> None:
    assert made()[1].startswith("SG.")


def test_no_two_keys_are_alike() -> None:
    tokens = {made()[1] for _ in range(1000)}
    assert len({(taken_apart(token) or ("", ""))[0] for token in tokens}) == len(tokens) == 1000


def test_what_is_kept_of_a_key_does_not_hold_its_secret() -> None:
    key, token = made()
    _, secret = taken_apart(token) or ("", "")
    assert secret.encode() not in pack(key)
    assert secret not in repr(key)
    assert unpack(pack(key)) == key


@given(st.data())
def test_a_secret_that_differs_in_one_character_does_not_fit(data: st.DataObject) -> None:
    key, token = made()
    _, secret = taken_apart(token) or ("", "")
    place = data.draw(st.integers(0, len(secret) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda char: char != secret[place]))
    assert not key.fits(secret[:place] + other + secret[place + 1 :])


@given(st.text() | st.from_regex(r"SG\.pr_[a-z0-9_]*"))
def test_what_is_no_token_is_not_taken_apart(text: str) -> None:
    assert taken_apart(text) is None or re.fullmatch(r"SG\.pr_[a-z0-9]{10}_[\w-]{43}", text, re.ASCII)


def test_a_key_expires() -> None:
    key, _ = made(expires_in=60)
    assert not key.is_expired(1059.9)
    assert key.is_expired(1060)
    assert not made()[0].is_expired(10**12)


@pytest.mark.parametrize(
    ("domains", "address", "is_allowed"),
    [
        (["example.com"], "shop@example.com", True),
        (["example.com"], "shop@EXAMPLE.com", True),
        (["Example.COM"], "shop@example.com", True),
        (["example.com", "example.org"], "shop@example.org", True),
        (["example.com"], "shop@news.example.com", False),
        (["example.com"], "shop@example.com.evil.test", False),
        (["example.com"], "shop@badexample.com", False),
        (["example.com"], '"shop@example.com"@evil.test', False),
        (["example.com"], "example.com", True),
        (["*"], "shop@evil.test", True),
    ],
)
def test_a_key_allows_the_addresses_of_its_domains_and_no_others(
    domains: list[str], address: str, is_allowed: bool
) -> None:
    assert made(from_domains=domains)[0].allows(address) is is_allowed


@pytest.mark.parametrize(
    "domains", [[], [""], ["shop@example.com"], ["example .com"], ["a..b"], ["*.example.com"], ["."]]
)
def test_a_key_needs_domains(domains: list[str]) -> None:
    with pytest.raises(ValueError, match="domain"):
        made(from_domains=domains)


# The commands.


def test_a_key_is_made_listed_and_revoked(run: Run) -> None:
    added = run(
        "add", "letters", "--from-domain", "News.example.com", "--lane", "bulk", "--expires-in", "90d", "--json"
    )
    document = added.document
    assert (added.code, document["name"], document["lane"]) == (0, "letters", "bulk")
    assert document["from_domains"] == ["news.example.com"]
    assert document["expires_at"] == pytest.approx(time.time() + 90 * 86_400, abs=60)
    assert taken_apart(document["token"])

    (listed,) = run("list", "--json").document["keys"]
    assert listed == {name: value for name, value in document.items() if name != "token"}
    assert document["id"] in run("list").out
    assert "token" not in run("list").out

    assert run("revoke", document["id"], "--json").document == {"revoked": document["id"]}
    assert run("list", "--json").document == {"keys": []}
    assert run("revoke", document["id"]).code == 1


def test_a_token_stands_alone_on_standard_output_and_nowhere_else(run: Run, redis_server: RedisServer) -> None:
    added = run("add", "shop", "--from-domain", "example.com")
    token = added.out.strip()
    assert taken_apart(token)
    assert token not in added.err
    _, secret = taken_apart(token) or ("", "")
    with redis_server.client() as client:
        kept = b"".join(client.hvals("postroom:gateway:keys"))
    assert kept
    assert secret.encode() not in kept


def test_expired_keys_are_listed_as_expired(run: Run, redis_url: str) -> None:
    key, _ = new_key("old", from_domains=["*"], now=time.time() - 100, expires_in=10)
    with KeyStore(Settings(redis_url=redis_url)) as store:
        store.add(key)
    assert run("list", "--json").document["keys"][0]["is_expired"]
    assert ": expired" in run("list").out


def test_keys_are_listed_from_the_oldest_on(redis_url: str) -> None:
    with KeyStore(Settings(redis_url=redis_url)) as store:
        for moment in (3, 1, 2):
            store.add(new_key(f"key{moment}", from_domains=["*"], now=moment, lane=Lane.BULK)[0])
        assert [key.name for key in store.all()] == ["key1", "key2", "key3"]


def test_a_key_can_be_revoked_while_redis_is_full(own_redis_server: RedisServer) -> None:
    key, _ = made()
    with KeyStore(Settings(redis_url=own_redis_server.url)) as store, own_redis_server.client() as client:
        store.add(key)
        client.config_set("maxmemory", 1)
        assert store.revoke(key.id)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["add"],
        ["add", "shop"],
        ["add", "two words", "--from-domain", "example.com"],
        ["add", "", "--from-domain", "example.com"],
        ["add", "shop", "--from-domain", "shop@example.com"],
        ["add", "shop", "--from-domain", "example.com", "--lane", "slow"],
        ["add", "shop", "--from-domain", "example.com", "--max-bytes", str(MAIL_BYTES + 1)],
        ["add", "shop", "--from-domain", "example.com", "--expires-in", "soon"],
        ["revoke"],
    ],
)
def test_wrong_usage_is_told_before_redis_is_asked(words: list[str]) -> None:
    assert postroom("keys", *words, POSTROOM_REDIS_URL=NOWHERE).code == 2


@pytest.mark.parametrize("words", [["add", "shop", "--from-domain", "*"], ["list"], ["revoke", "a" * 10]])
def test_without_redis_each_command_says_so(words: list[str]) -> None:
    ran = postroom("keys", *words, "--json", POSTROOM_REDIS_URL=NOWHERE)
    assert (ran.code, ran.document["error"], ran.err) == (1, "queue_unavailable", "")
