"""Exploration: all states that a scene can come to, breadth first, so that what breaks is found by the shortest way."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.protocol.promise import CHECKS, SENTENCES
from tests.protocol.rules import ALL, Rules
from tests.protocol.scenes import Scene
from tests.protocol.steps import Step, steps
from tests.protocol.story import Told, tell
from tests.protocol.world import State, World


@dataclass(frozen=True)
class Explored:
    """`broken`: which promise; `way`: the shortest way there, and `story`: the same, a line a step. `happened`: the
    steps that there were anywhere, and `mail_states`, the states that mails came to.
    """

    states: int
    transitions: int
    happened: frozenset[str]
    mail_states: frozenset[str]
    broken: str | None
    way: tuple[Step, ...]
    story: tuple[str, ...]

    def __str__(self) -> str:
        if self.broken is None:
            return f"{self.states:,} states, {self.transitions:,} steps between them: the promise holds"
        return "\n".join((f"This does not hold: {SENTENCES[self.broken]}.", *self.story))


def explore(scene: Scene, rules: Rules = ALL, only: Iterable[str] = SENTENCES) -> Explored:
    """All of a scene, until something breaks. `only`: the promises that are looked at."""
    return Search(scene, rules, frozenset(only)).run()


class Search:
    """One exploration under way. States are numbered as they are found."""

    def __init__(self, scene: Scene, rules: Rules, only: frozenset[str]) -> None:
        self.scene, self.rules, self.only = scene, rules, only
        self.checks = [(name, check) for name, check in CHECKS.items() if name in only]
        self.states: list[State] = []
        self.numbers: dict[State, int] = {}
        #: How each was found: from which, by which step, and in which order it has the workers.
        self.found: list[tuple[int, Step | None, Sequence[int]]] = []
        #: From where to where the fleet goes by itself, and where it has done its work.
        self.own_from, self.own_to = array("L"), array("L")
        self.done: list[int] = []
        self.transitions = 0
        self.happened: set[str] = set()
        #: The promise that does not hold, and in which state.
        self.broken: tuple[str, int] | None = None

    def run(self) -> Explored:
        self.arrive(World(self.scene, self.rules), -1, None)
        for number, state in enumerate(self.states):  # which grows meanwhile
            self.leave(number, state)
            if self.broken:
                break
        if not self.broken and "loss" in self.only:
            self.look_for_loss()
        broken, number = self.broken or (None, 0)
        way = list(self.way(number))
        return Explored(
            len(self.states),
            self.transitions,
            frozenset(self.happened),
            frozenset(mail[0] for (mails, *_), *_ in self.states for mail in mails),
            broken,
            tuple(told.step for told in way),
            tuple(tell(way, self.scene.workers)),
        )

    def leave(self, number: int, state: State) -> None:
        """Try all that may happen next."""
        for step in steps(self.thaw(state)):
            world = self.thaw(state)
            getattr(world, step.does)(*step.args)
            self.transitions += 1
            self.happened.add(step.does)
            to = self.arrive(world, number, step)
            if step.own:
                self.own_from.append(number)
                self.own_to.append(to)
            if self.broken:
                return

    def arrive(self, world: World, number: int, step: Step | None) -> int:
        """The number of this state; if it is new, the promise is checked."""
        state, order = world.freeze()
        to = self.numbers.setdefault(state, len(self.states))
        if to == len(self.states) or world.wrong in self.only:
            to = len(self.states)
            self.states.append(state)
            self.found.append((number, step, order))
            if world.is_done():
                self.done.append(to)
            self.check(world, to)
        return to

    def check(self, world: World, number: int) -> None:
        if world.wrong in self.only:
            self.broken = world.wrong, number
        else:
            broken = next((name for name, check in self.checks if not check(world)), None)
            self.broken = (broken, number) if broken else None

    def look_for_loss(self) -> None:
        """The first state from which the fleet by itself does not come to the end of its work."""
        back: list[list[int]] = [[] for _ in self.states]
        for start, end in zip(self.own_from, self.own_to, strict=True):
            back[end].append(start)
        can_end = bytearray(len(self.states))
        waiting = self.done
        while waiting:
            number = waiting.pop()
            if not can_end[number]:
                can_end[number] = True
                waiting += back[number]
        lost = can_end.find(0)
        if lost >= 0:
            self.broken = "loss", lost

    def way(self, number: int) -> Iterator[Told]:
        """The steps from the beginning to a state."""
        numbers = []
        while number > 0:
            numbers.append(number)
            number = self.found[number][0]
        for each in reversed(numbers):
            _, step, order = self.found[each]
            assert step is not None
            yield Told(step, order, self.thaw(self.states[each]))

    def thaw(self, state: State) -> World:
        return World.thaw(self.scene, self.rules, state)
