"""Nonsense: values that nobody asked for, and good values gone wrong. All from the randomness that is passed in."""

import copy
import json
import math
from pathlib import Path
from random import Random
from typing import Any

_DATA = Path(__file__).parent.parent.parent / "data" / "sendgrid"
_BODIES = ("docs.jsonl", "sendgrid_python.jsonl", "oai_spec.jsonl")

TEXTS = (
    *("", " ", "a", "0", "-1", "null", "NaN", "\x00", "\n", "a\r\nb", "\ud800", "\ufeff", "\u2028", "ü" * 300, "🙂"),
    *("ann@example.com", "ann@", "@example.com", "ann@example", "ann..b@example.com", "Ann <ann@example.com>"),
    *("x" * 999, "x" * 10_001, "{{", "{{email}}", "{% x %}", "{{ 1/0 }}", "%s%n", "'; --", "../..", "text/html"),
    *("postroom_id", "d-1", "aGk=", "bulk", "hold", "transactional", "1e999", "\U0001d7d9", "\u202e", "q" * 70_000),
)
NUMBERS = (
    *(0, 1, -1, 2, 255, 256, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e-300, 1e300, math.inf, -math.inf, math.nan, 1_800_000_000, 86_400),
)
NAMES = (
    *("personalizations", "to", "cc", "bcc", "from", "email", "name", "subject", "content", "type", "value"),
    *("custom_args", "postroom_id", "headers", "send_at", "categories", "attachments", "template_id", "asm"),
    *("batch_id", "mail_settings", "sandbox_mode", "enable", "reply_to", "reply_to_list", "sections", "", "\ud800"),
)


def corpus() -> list[dict[str, Any]]:
    """SendGrid's own examples, and those of its client."""
    lines = [line for name in _BODIES for line in (_DATA / name).read_text().splitlines()]
    wire = (_DATA / "wire_python_client.jsonl").read_text().splitlines()
    return [json.loads(line)["payload"] for line in lines] + [json.loads(json.loads(line)["body"]) for line in wire]


def scalar(random: Random) -> Any:
    kind = random.randrange(4)
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice(NUMBERS)
    return random.choice(TEXTS)


def value(random: Random, depth: int = 3) -> Any:
    """Any JSON value; NaN and infinities, too, which are none."""
    kind = random.randrange(5) if depth else 0
    if kind < 3:
        return scalar(random)
    size = random.choice((0, 1, 1, 2, 3))
    if kind == 3:
        return [value(random, depth - 1) for _ in range(size)]
    return {random.choice(NAMES): value(random, depth - 1) for _ in range(size)}


def mutated(random: Random, good: Any) -> Any:
    """A copy with one to three things wrong."""
    changed = copy.deepcopy(good)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        changed = _mutate_once(random, changed)
    return changed


def _mutate_once(random: Random, whole: Any) -> Any:
    holders = list(_holders(whole))
    if not holders:
        return value(random)
    holder = random.choice(holders)
    places = _places(holder)
    how = random.randrange(5)
    if not places or how == 0:
        _add(random, holder)
    elif how == 1:
        del holder[random.choice(places)]
    elif how == 2:
        place = random.choice(places)
        holder[place] = [holder[place]]
    elif how == 3 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[:50]))
    else:
        holder[random.choice(places)] = value(random)
    return whole


def reworded(random: Random, good: Any) -> Any:
    """A copy in which one text is another; often it is as good as before."""
    changed = copy.deepcopy(good)
    places = [(holder, place) for holder in _holders(changed) for place in _places(holder)]
    texts = [(holder, place) for holder, place in places if isinstance(holder[place], str)]
    if texts:
        holder, place = random.choice(texts)
        holder[place] = random.choice(TEXTS)
    return changed


def _places(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def _add(random: Random, holder: Any) -> None:
    if isinstance(holder, dict):
        holder[random.choice(NAMES)] = value(random)
    else:
        holder.append(value(random))


def _holders(whole: Any) -> Any:
    if isinstance(whole, dict | list):
        yield whole
        for item in whole.values() if isinstance(whole, dict) else whole:
            yield from _holders(item)


def garbled(random: Random, text: bytes) -> bytes:
    """Bytes with a few of them changed, lost, doubled or cut off."""
    changed = bytearray(text)
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(changed) + 1)
        how = random.randrange(5)
        if how == 0:
            changed[at:at] = random.choice((b"\x00", b"\xff", b'"', b"{", b"}", b",", b"\\u", b"\n", b"9" * 400))
        elif how == 1:
            del changed[at : at + random.choice((1, 2, 20))]
        elif how == 2:
            del changed[at:]
        elif how == 3:
            changed[at:at] = changed[at : at + 30]
        elif at < len(changed):
            changed[at] = random.randrange(256)
    return bytes(changed)


def nested(random: Random) -> bytes:
    """JSON that is deeper than any mail."""
    depth = random.choice((50, 99, 101, 500, 3_000, 100_000))
    left, right = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return left * depth + b"1" + (right * depth if random.random() < 0.9 else b"")
