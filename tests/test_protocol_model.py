"""The protocol, explored: every state that a few mails, workers and faults can come to (see `tests.protocol`).

`python -m tests.protocol` tells the numbers of states, and `python -m tests.protocol RULE` the shortest way to what
breaks without a rule. HYPOTHESIS_PROFILE=deep in the environment explores larger scenes, for some minutes each.
"""

import os
from dataclasses import fields
from functools import cache
from importlib.resources import files

import pytest

from postroom.script import SCRIPTS
from tests.ledger_driver import Edit
from tests.protocol.breaks import BREAKS, HARMLESS, HOLD, RESEND, TAKEN_FOR_GRANTED
from tests.protocol.exploration import Explored, explore
from tests.protocol.ledger import FINISHED, IN_DOUBT, IS_QUEUED, SENDING, Ledger
from tests.protocol.promise import SENTENCES
from tests.protocol.rules import ALL, Rules
from tests.protocol.scenes import DEEP, SCENES, WALKS, Scene
from tests.protocol.story import SENTENCES as STEPS
from tests.protocol.walk import follow, wander
from tests.servers import RedisServer

IS_DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
#: These steps are only there where a rule or an assumption is left out.
OF_BROKEN_PROTOCOLS = {"judge_unheard", "forget"}
WALKS_EACH = 400 if IS_DEEP else 25


@cache
def explored(name: str) -> Explored:
    return explore(SCENES[name])


@pytest.mark.parametrize("name", SCENES)
def test_the_promise_holds_in_every_state(name: str) -> None:
    result = explored(name)

    print(result)
    assert result.broken is None, str(result)


@pytest.mark.skipif(not IS_DEEP, reason="minutes each")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", DEEP)
def test_the_promise_holds_in_every_state_of_larger_scenes(name: str) -> None:
    result = explore(DEEP[name])

    print(result)
    assert result.broken is None, str(result)


def test_all_that_may_happen_has_been_tried() -> None:
    results = [explored(name) for name in SCENES]
    happened = frozenset[str]().union(*(result.happened for result in results))
    mail_states = frozenset[str]().union(*(result.mail_states for result in results))

    assert happened == {name.split()[0] for name in STEPS} - OF_BROKEN_PROTOCOLS
    assert mail_states == IS_QUEUED | {SENDING, IN_DOUBT} | FINISHED
    assert sum(result.states for result in results) > 100_000


@pytest.mark.parametrize("rule", BREAKS)
def test_without_this_rule_the_promise_breaks(rule: str) -> None:
    promise, scene = BREAKS[rule]

    result = explore(scene, ALL.without(rule), [promise])

    print(result)
    assert result.broken == promise
    assert explore(scene).broken is None


@pytest.mark.parametrize("rule", HARMLESS)
def test_this_rule_is_about_time_or_cost_alone(rule: str) -> None:
    result = explore(HARMLESS[rule], ALL.without(rule))

    assert result.broken is None, str(result)


def test_every_rule_is_left_out_once() -> None:
    assert sorted([*BREAKS, *HARMLESS]) == sorted(field.name for field in fields(Rules))


@pytest.mark.parametrize("assumption", TAKEN_FOR_GRANTED)
def test_the_promise_needs_what_it_takes_for_granted(assumption: str) -> None:
    promise, scene = TAKEN_FOR_GRANTED[assumption]

    result = explore(scene, ALL, [promise])

    print(result)
    assert result.broken == promise


@pytest.mark.parametrize("scene", [HOLD, RESEND], ids=["hold", "resend"])
def test_how_many_copies_there_are_depends_on_no_clock(scene: Scene) -> None:
    result = explore(
        scene.but(faults=("kill", "pause", "pause", "no_reply")),
        ALL.without("grace", "start_by"),
        set(SENTENCES) - {"one_request"},
    )

    assert result.broken is None, str(result)


def test_what_breaks_is_told_by_the_shortest_way() -> None:
    result = explore(HOLD, ALL.without("hold_never_requeues"), ["hold"])

    assert [line.rstrip() for line in str(result).splitlines()] == [
        "This does not hold: under hold SendGrid accepts a mail at most once.",
        "  1. ann claims                                                             sending, 0 accepted by SendGrid",
        "  2. ann starts the request of mail 0                                       sending, 0 accepted by SendGrid",
        "  3. SendGrid accepts mail 0 from ann, the reply is lost                    sending, 1 accepted by SendGrid",
        "  4. ann settles                                                            in doubt, 1 accepted by SendGrid",
        "  5. the grace of mail 0 is over                                            queued, 1 accepted by SendGrid",
        "  6. ann claims                                                             sending, 1 accepted by SendGrid",
        "  7. ann starts the request of mail 0                                       sending, 1 accepted by SendGrid",
        "  8. SendGrid accepts mail 0 from ann                                       sending, 2 accepted by SendGrid",
    ]


#: What the model has in its own words.
OWN_WORDS = {
    *("freeze", "thaw", "rename", "bury", "take_wake_up", "double_wake_up", "pass_deadline"),
    *("is_finished", "is_lost", "settle_mail", "can_cancel", "can_record_report"),
}


def test_the_model_speaks_the_words_of_the_scripts() -> None:
    scripts = {file.name: file.read_text() for file in (files("postroom") / "lua").iterdir()}
    text = "\n".join(scripts.values())
    words = {name for name, value in vars(Ledger).items() if callable(value) and not name.startswith("_")} | {"thaw"}

    unknown = {word for word in words if f"local function {word}(" not in text and f"{word}.lua" not in scripts}

    assert unknown == OWN_WORDS


@pytest.fixture
def quick_redis(own_redis_server: RedisServer) -> str:
    """A Redis that does not wait for its disk: nobody kills it here."""
    own_redis_server.client().config_set("appendfsync", "no")
    return own_redis_server.url


@pytest.mark.timeout(0 if IS_DEEP else 120)
def test_the_ledger_goes_where_the_model_goes(quick_redis: str) -> None:
    came = sum(wander(quick_redis, scene, seed) for scene in WALKS for seed in range(WALKS_EACH))

    assert came > 20 * WALKS_EACH


#: A rule left out of the scripts: the script, what stands there, and what stands there then.
LEFT_OUT = {
    "claim_takes_queued": ("claim", "if state == wanted then", "if state == wanted or state == SENDING then"),
    "claim_repeats": ("claim", "if window then return repeated(window) end", ""),
    "repeat_omits_settled": ("claim", "if chunk and state_of(chunk, row) == SENDING then", "if chunk then"),
    "proof_settles": ("events", "prove(chunk, row, event[2])", ""),
    "stale_is_ignored": ("settle", "elseif mine and state == SENDING then", "elseif state == SENDING then"),
    "heals_own_doubt": ("settle", "note_of(chunk, row).nonce == args.nonce", "true"),
    "settle_leaves_window": ("settle", "  rows[row] = nil\n", ""),
    "failure_after_doubt_is_unresolved": ("settle", "note.doubts > 0 and UNRESOLVED or state", "state"),
    "judged_is_doubted": ("sweep", "  doubt(chunk, row, reason, nonce)\n", "  do return requeue(chunk, row) end\n"),
    "hold_never_requeues": ("sweep", "chunk.policy ~= 'resend' or ", ""),
    "second_doubt_ends": ("sweep", " or note.doubts > 1", ""),
    "alone_after_death": ("sweep", "note_of(chunk, row).died > 0", "false"),
}


def without(rule: str) -> Edit:
    where, text, instead = LEFT_OUT[rule]
    assert SCRIPTS[where].text.count(text) == 1, f"{where}.lua does not say {text!r} any more, or not once"
    return lambda name, script: script.replace(text, instead) if name == where else script


@pytest.mark.parametrize("rule", LEFT_OUT)
def test_a_ledger_without_this_rule_leaves_the_way_of_the_model(rule: str, quick_redis: str) -> None:
    promise, scene = BREAKS[rule]
    way = explore(scene, ALL.without(rule), [promise]).way
    edit = without(rule)

    follow(quick_redis, scene, way)
    with pytest.raises(AssertionError):
        follow(quick_redis, scene, way, edit=edit)
