"""Whatever comes in as a mail, it is taken or refused with `InvalidMail`; and the glance never sees what is not so."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom import mail
from postroom.errors import Fault, InvalidMail
from postroom.mail import glance, rules

NOW = 1_800_000_000.0
ID = "01J9ZK3T5W8Y0B2D4F6H8K0M2P"

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)

#: Python values of which some have no form in JSON.
NOT_ALL_JSON = st.recursive(
    SCALARS
    | st.floats()
    | st.binary()
    | st.decimals()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.text(st.characters(categories=["Cs", "Lu"]))
    | st.frozensets(st.integers(), max_size=2),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(SCALARS | st.binary() | st.tuples(st.integers()), inner, max_size=4)
    ),
)

# -- A mail with every known field, and what may stand in a field

ADDRESS = {"email": "ada@example.com", "name": "Ada"}
EVERY_FIELD: dict[str, Any] = {
    "personalizations": [
        {
            "to": [ADDRESS, {"email": "b@example.com"}],
            "cc": [{"email": "c@example.com"}],
            "bcc": [{"email": "d@example.com"}],
            "subject": "Hello",
            "headers": {"X-A": "1", "X-B": "2"},
            "substitutions": {"-a-": "b"},
            "custom_args": {"a": "b"},
            "send_at": 1_800_000_100,
        },
        {"to": [ADDRESS], "dynamic_template_data": {"a": [1, {"b": None}]}, "from": {"email": "o@example.org"}},
    ],
    "from": {"email": "shop@example.org", "name": "The Shop"},
    "reply_to": {"email": "help@example.org", "name": "Help"},
    "reply_to_list": [{"email": "help@example.org"}, ADDRESS],
    "subject": "Your order",
    "content": [{"type": "text/plain", "value": "Hello"}, {"type": "text/html", "value": "<p>Hello</p>"}],
    "attachments": [{"content": "aGk=", "filename": "a.txt", "type": "text/plain", "disposition": "inline"}],
    "template_id": "13b8f94f",
    "sections": {"-a-": "b"},
    "headers": {"X-C": "1"},
    "categories": ["orders", "receipts"],
    "custom_args": {"c": "d"},
    "send_at": 1_800_000_000,
    "batch_id": "b",
    "asm": {"group_id": 1, "groups_to_display": [1, 2]},
    "ip_pool_name": "pool",
    "mail_settings": {
        "bcc": {"enable": True, "email": "e@example.org"},
        "bypass_list_management": {"enable": False},
        "bypass_spam_management": {"enable": False},
        "footer": {"enable": True, "text": "a", "html": "b"},
        "sandbox_mode": {"enable": True},
        "spam_check": {"enable": True, "threshold": 5, "post_to_url": "https://example.com"},
    },
    "tracking_settings": {
        "click_tracking": {"enable": True, "enable_text": False},
        "open_tracking": {"enable": True, "substitution_tag": "%open%"},
        "subscription_tracking": {"enable": True, "text": "a", "html": "b", "substitution_tag": "c"},
        "ganalytics": {"enable": True, "utm_source": "a"},
    },
}

#: Fields that the glance leaves to the rules, and those that the others of the mail do not go with.
RARE = ("reply_to_list", "attachments", "sections", "mail_settings")

Path = tuple[str | int, ...]


def paths(value: Any, at: Path = ()) -> list[Path]:
    """The paths of all values in this one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for name, item in inner for path in paths(item, (*at, name)))]


def at(value: Any, path: Path) -> Any:
    for name in path:
        value = value[name]
    return value


def replaced(body: dict[str, Any], path: Path, value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(body)
    at(changed, path[:-1])[path[-1]] = value
    return changed


USUAL: dict[str, Any] = {name: value for name, value in EVERY_FIELD.items() if name not in RARE} | {
    "personalizations": [EVERY_FIELD["personalizations"][0], {"to": [ADDRESS]}],
    "tracking_settings": {name: EVERY_FIELD["tracking_settings"][name] for name in ("click_tracking", "open_tracking")},
}
USUAL["personalizations"][1]["dynamic_template_data"] = {"a": [1, None]}

#: What is on the edge of some rule.
EDGES: list[Any] = [
    *("", " ", "a", "ab", "x" * 64, "x" * 65, "x" * 255, "x" * 256, "ü" * 5000, "x" * 9_990, "x" * 10_001),
    *("a\nb", "a\rb", "a\tb", "a\x00b", "a\x7fb", "\x1f", "\u2028", "\xa0", "\x85", "ü", "世界", "İ", "ß", "\ud800"),
    *("ada@example.com", "ADA@EXAMPLE.com", "b@example.com", "a@b", "pepé@example.com", "a@münchen.example", "a@b.c."),
    *(
        "a" * 308 + "@example.com",
        "a" * 309 + "@example.com",
        ".a@b.c",
        "a..b@c.d",
        '"a b"@c.d',
        "a@b\n",
        "a@[1.2.3.4]",
    ),
    *("text/plain", "text/html", "text/calendar", "text/x-amp-html", "text/plain; charset=utf-8", "TEXT/HTML"),
    *("d-1", "13b8f94f", "aGk=", "aGk", "inline", "attachment", "x-c", "X-C", "To", "reply-to", "X C", "X-\u00fc"),
    *(0, 1, -1, 10, 11, 25, 1_800_000_000, 1_800_259_200, 1_800_259_201, 2**63, 2**64, 10**30, 1.0, 1.5, 1e300),
    *(True, False, None, [], {}, [None], [[]], [{}], {"a": None}, {"": ""}, {"a": 1}, {"a": "b"}, {"email": "a@b.c"}),
    *([ADDRESS], [ADDRESS, ADDRESS], [ADDRESS, {"email": "ADA@example.COM"}], ["a", "a"], ["a", "b"], ["ü"]),
    *(
        [{"type": "text/html", "value": "x"}, {"type": "text/plain", "value": "x"}],
        [{"type": "text/plain", "value": ""}],
    ),
    *({"X-A": "1", "x-a": "2"}, {"To": "x"}, {"X-\x00": "1"}, {"X A": "1"}, {"a": "x" * 9_990}, {"a": "ü" * 4_999}),
    [{"email": f"{number}@example.com"} for number in range(999)],
    [{"email": f"{number}@example.com"} for number in range(1001)],
    [str(number) for number in range(11)],
    list(range(26)),
]


#: Names that a member more may have.
NAMES = ["X-A", "x-a", "to", "cc", "from", "", "ü", "x" * 9_990, *RARE]


def without(body: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(body)
    holder = at(changed, path[:-1])
    if isinstance(holder, list):
        del holder[path[-1]]
    else:
        holder.pop(path[-1], None)
    return changed


@st.composite
def changed_bodies(draw: st.DrawFn, of: dict[str, Any]) -> dict[str, Any]:
    """This body with some of its values replaced, left out or added to."""
    body = of
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(body)[1:]))
        change = draw(st.sampled_from(["edge", "edge", "any", "gone", "more"]))
        value = draw(JSON if change == "any" else st.sampled_from(EDGES))
        holder = at(body, path)
        if change == "gone":
            body = without(body, path)
        elif change == "more" and isinstance(holder, list):
            body = replaced(body, path, [*holder, value])
        elif change == "more" and isinstance(holder, dict):
            body = replaced(body, path, {**holder, draw(st.sampled_from(NAMES)): value})
        else:
            body = replaced(body, path, value)
    return body


def found_by_the_rules(body: dict[str, Any]) -> list[Fault]:
    return list(rules._found(body, NOW))


def refused(make: Callable[[], Any]) -> list[Fault] | None:
    """The faults, or None if there were none. Any exception but `InvalidMail` is a failure."""
    try:
        make()
    except InvalidMail as refusal:
        return refusal.faults
    return None


def is_taken_or_refused(given: Any) -> bool:
    faults = refused(lambda: mail.prepare(given, ID, now=NOW))
    return faults is None or (faults != [] and all(fault.message for fault in faults))


def test_the_mails_changed_here_are_fine_as_they_are() -> None:
    with_all = {name: value for name, value in EVERY_FIELD.items() if name not in {"reply_to", "attachments"}}
    assert mail.faults(with_all, now=NOW) == []
    assert found_by_the_rules(USUAL) == []


def test_the_glance_knows_a_usual_mail() -> None:
    assert glance.fine(USUAL, NOW)
    for name in ("reply_to", "categories", "custom_args", "headers", "asm", "tracking_settings", "send_at"):
        assert glance.fine(without(USUAL, (name,)), NOW)


@settings(max_examples=600, deadline=None, database=None)
@given(changed_bodies(USUAL))
def test_a_glance_that_sees_no_fault_is_right(body: dict[str, Any]) -> None:
    if glance.fine(body, NOW):
        assert found_by_the_rules(body) == []


NOT_USUAL: list[Path] = [
    *((name,) for name in RARE),
    ("personalizations", 0, "from"),
    ("tracking_settings", "ganalytics"),
]


@pytest.mark.parametrize("path", [*paths(USUAL)[1:], *NOT_USUAL], ids=str)
def test_a_glance_agrees_with_the_rules_on_each_edge_of_each_field(path: Path) -> None:
    bodies = [without(USUAL, path), *(replaced(USUAL, path, edge) for edge in EDGES)]
    assert [body for body in bodies if glance.fine(body, NOW) and found_by_the_rules(body)] == []


@settings(max_examples=150, deadline=None, database=None)
@given(changed_bodies(EVERY_FIELD))
def test_a_changed_mail_is_taken_or_refused(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    assert is_taken_or_refused(body)
    assert body == before


@pytest.mark.parametrize("path", paths(EVERY_FIELD), ids=str)
def test_any_edge_at_any_path_is_taken_or_refused(path: Path) -> None:
    for edge in EDGES:
        assert is_taken_or_refused(replaced(EVERY_FIELD, path, edge))


@settings(max_examples=150, deadline=None, database=None)
@given(st.sampled_from(paths(EVERY_FIELD)), NOT_ALL_JSON)
def test_any_value_at_any_path_is_taken_or_refused(path: Path, value: Any) -> None:
    assert is_taken_or_refused(replaced(EVERY_FIELD, path, value))


@settings(max_examples=150, deadline=None, database=None)
@given(st.binary() | st.text() | JSON.map(json.dumps))
def test_any_text_is_loaded_or_refused(text: bytes | str) -> None:
    if not refused(lambda: mail.load(text)):
        assert mail.load(text) == json.loads(text)


@settings(max_examples=150, deadline=None, database=None)
@given(st.data())
def test_damaged_json_is_taken_or_refused(data: st.DataObject) -> None:
    text = bytearray(json.dumps(USUAL, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    assert is_taken_or_refused(bytes(text[: data.draw(st.integers(0, len(text)))]))


@settings(max_examples=150, deadline=None, database=None)
@given(OBJECTS)
def test_json_comes_through_unchanged_as_dict_and_as_text(body: dict[str, Any]) -> None:
    assert mail.load(body) == body
    assert mail.load(json.dumps(body)) == body
    assert mail.load(json.dumps(body, ensure_ascii=False).encode()) == body
    assert mail.canonical(mail.load(body)) == mail.canonical(mail.load(json.dumps(body)))


def is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and is_json(name) and is_json(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_json, value))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


@settings(max_examples=150, deadline=None, database=None)
@given(st.dictionaries(st.text(), NOT_ALL_JSON, max_size=4))
def test_exactly_json_is_loaded(given_: dict[str, Any]) -> None:
    if is_json(given_):
        assert mail.load(given_) == json.loads(json.dumps(given_))
    else:
        assert refused(lambda: mail.load(given_))


@settings(max_examples=150, deadline=None, database=None)
@given(OBJECTS, st.randoms())
def test_the_order_of_names_does_not_show_in_canonical_bytes(body: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            random.shuffle(items)
            return {name: shuffled(item) for name, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    assert mail.canonical(shuffled(body)) == mail.canonical(body)
    assert json.loads(mail.canonical(body)) == body


@settings(max_examples=150, deadline=None, database=None)
@given(changed_bodies(EVERY_FIELD))
def test_a_fine_mail_stays_fine_when_redirected(body: dict[str, Any]) -> None:
    if mail.faults(body, now=NOW):
        return
    redirected = mail.redirect(body, "me@example.com")
    assert mail.faults(redirected, now=NOW) == []
    assert set(mail.recipients(redirected)) == {"me@example.com"}
    assert mail.domain_faults(redirected, frozenset({"example.com"})) == []


@settings(max_examples=150, deadline=None, database=None)
@given(changed_bodies(EVERY_FIELD))
def test_staging_never_stumbles_over_a_mail(body: dict[str, Any]) -> None:
    assert all(isinstance(address, str) for address in mail.recipients(body))
    assert all(isinstance(fault, Fault) for fault in mail.domain_faults(body, frozenset({"example.com"})))
    mail.redirect(body, "me@example.com")
