"""Story: a way through the states, told in sentences."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from tests.protocol.ledger import Mail
from tests.protocol.steps import Step
from tests.protocol.world import World

NAMES = ("ann", "bob", "eve", "joe", "kim", "lea", "max", "pia", "roy", "sue")

#: What each step says, of the worker and the mail in its arguments.
SENTENCES = {
    "begin": "{worker} takes a wake-up",
    "claim": "{worker} claims",
    "claim_without_reply": "{worker} claims, the reply is lost",
    "claim_delayed": "{worker} claims, and Redis has not got it yet",
    "post": "{worker} starts the request of mail {mail}",
    "not_started": "{worker} is too late to start the request of mail {mail}",
    "settle": "{worker} settles",
    "settle_without_reply": "{worker} settles, the reply is lost",
    "settle_delayed": "{worker} settles, and Redis has not got it yet",
    "delayed_arrives": "Redis gets what was on its way",
    "give_back": "{worker} gives back what is left",
    "kill": "{worker} is killed",
    "kill claim": "{worker} is killed when its claim is done",
    "kill settle": "{worker} is killed when its settle is done",
    "abandon": "{worker}'s task fails",
    "answer accepted": "SendGrid accepts mail {mail} from {worker}",
    "answer rejected": "SendGrid answers {worker} 400 to mail {mail}",
    "answer retry": "SendGrid answers {worker} 503 to mail {mail}",
    "answer retry_accepted": "SendGrid accepts mail {mail} from {worker}, and answers 503",
    "answer limited": "SendGrid answers {worker} 429 to mail {mail}",
    "answer unsent": "{worker}'s connection breaks before all of mail {mail} is written",
    "answer lost": "{worker}'s connection breaks, mail {mail} was written and is not accepted",
    "answer lost_accepted": "SendGrid accepts mail {mail} from {worker}, the reply is lost",
    "evidence": "SendGrid tells of copy {copy} of mail {number}",
    "judge_paused worker_died": "{worker} is silent for a life, and its window judged",
    "judge_paused overdue": "{worker} is slow, and its window judged overdue",
    "judge_forsaken": "a window that nobody will settle is judged",
    "judge_unheard": "{worker}'s window is judged, for it was not heard of",
    "end_doubts": "the grace of mail {number} is over",
    "queue_due": "the retry of mail {number} is due",
    "deadline_over": "the deadline is over",
    "expire": "a sweep finishes what is too late",
    "wake_again": "a sweep announces again",
    "record_report": "the report is recorded",
    "redis_away": "Redis is away for a while",
    "all_heard": "a life later, all who live have been heard of",
    "forget": "Redis loses what it has acknowledged",
    "lose_wake_up": "a wake-up is lost",
    "double_wake_up": "a wake-up is doubled",
    "cancel": "a producer cancels mail {number}",
}
STATES = {
    "q": "queued",
    "w": "waiting",
    "o": "queued alone",
    "s": "sending",
    "d": "in doubt",
    "a": "accepted",
    "r": "rejected",
    "x": "exhausted",
    "e": "expired",
    "c": "cancelled",
    "u": "unresolved",
}


class Told(NamedTuple):
    """A step, the world after it, and in which order that has the workers that were there before."""

    step: Step
    order: Sequence[int]
    world: World


def tell(way: Iterable[Told], workers: int) -> Iterator[str]:
    """A line a step: what happens, and what the ledger and SendGrid have of each mail then."""
    fresh = iter(NAMES)
    names = [next(fresh) for _ in range(workers)]
    for number, (step, order, world) in zip(count(1), way, strict=False):
        sentence = _sentence(step, names)
        for each in _replaced(step, world):
            names[each] = next(fresh)
        names = [names[each] for each in order]
        mails = zip(world.ledger.mails, world.copies, strict=True)
        yield f"{number:3}. {sentence:70} {'; '.join(_view(mail, copies) for mail, copies in mails)}"


def _sentence(step: Step, names: Sequence[str]) -> str:
    words = [arg for arg in step.args if isinstance(arg, str) and arg]
    numbers = [arg for arg in step.args if isinstance(arg, int)] + [0, 0]
    worker = names[numbers[0]] if numbers[0] < len(names) else ""
    text = SENTENCES[" ".join((step.does, *words))]
    return text.format(worker=worker, mail=numbers[1], number=numbers[0], copy=numbers[1])


def _replaced(step: Step, world: World) -> Iterator[int]:
    """The place of a worker that was killed."""
    number, *rest = step.args or (None,)
    posts_poison = step.does == "post" and rest == [world.scene.poison]
    if isinstance(number, int) and (step.does == "kill" or posts_poison):
        yield number


def _view(mail: Mail, copies: int) -> str:
    return f"{STATES[mail.state]}, {copies} accepted by SendGrid"
