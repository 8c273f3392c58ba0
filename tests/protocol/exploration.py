"""Exploration: all states that a scene can come to, breadth first, so that what is found wrong is found by the shortest
way.
"""

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.protocol.ledger import Mail
from tests.protocol.promise import CHECKS, SENTENCES
from tests.protocol.rules import ALL, Rules
from tests.protocol.scenes import Scene
from tests.protocol.world import State, Step, World


@dataclass(frozen=True)
class Explored:
    """`broken`: which promise; `trace`: a line a step that leads there."""

    scene: Scene
    states: int
    transitions: int
    broken: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.broken is None:
            return f"{self.states} states, {self.transitions} steps between them, and the promise holds"
        return "\n".join((f"Broken after {len(self.trace)} steps: {SENTENCES[self.broken]}.", *self.trace))


class Search:
    """One exploration under way. States are numbered as they are found."""

    def __init__(self, scene: Scene, rules: Rules, only: Iterable[str]) -> None:
        self.scene, self.rules, self.only = scene, rules, frozenset(only)
        self.checks = {name: check for name, check in CHECKS.items() if name in self.only}
        self.states: list[State] = []
        self.numbers: dict[State, int] = {}
        #: How each was found: from which state, by which step, and in which order it has the workers then.
        self.found: list[tuple[int, Step | None, Sequence[int]]] = []
        self.transitions = 0
        #: The fleet's own steps, from and to.
        self.own_from, self.own_to = array("L"), array("L")
        self.goals: list[int] = []

    def run(self) -> Explored:
        number, broken = self.look(World(self.scene, self.rules), (-1, None))
        for state in self.states:
            if broken:
                break
            number, broken = self.go_on(self.numbers[state], state)
        if not broken and "loss" in self.only:
            lost = self.lost()
            if lost is not None:
                number, broken = lost, "loss"
        trace = self.trace(number) if broken else ()
        return Explored(self.scene, len(self.states), self.transitions, broken or None, trace)

    def go_on(self, number: int, state: State) -> tuple[int, str]:
        for step in World.thaw(self.scene, self.rules, state).steps():
            self.transitions += 1
            world = World.thaw(self.scene, self.rules, state)
            getattr(world, step.does)(*step.args)
            to, broken = self.look(world, (number, step))
            if broken:
                return to, broken
            if step.own:
                self.own_from.append(number)
                self.own_to.append(to)
        return number, ""

    def look(self, world: World, how: tuple[int, Step | None]) -> tuple[int, str]:
        """The number of a state, and what is wrong with it, if it is new."""
        state, order = world.freeze()
        number = self.numbers.setdefault(state, len(self.states))
        if number < len(self.states) and not world.wrong:
            return number, ""
        self.states.append(state)
        self.found.append((*how, order))
        if world.is_done():
            self.goals.append(number)
        return len(self.states) - 1, self.wrong(world)

    def wrong(self, world: World) -> str:
        if world.wrong in self.only:
            return world.wrong
        return next((name for name, check in self.checks.items() if not check(world)), "")

    def lost(self) -> int | None:
        """The first state from which the fleet's own steps do not lead to the end."""
        reached = bytearray(len(self.states))
        back: list[list[int]] = [[] for _ in self.states]
        for start, end in zip(self.own_from, self.own_to, strict=True):
            back[end].append(start)
        waiting = deque(self.goals)
        while waiting:
            number = waiting.pop()
            if not reached[number]:
                reached[number] = True
                waiting.extend(back[number])
        lost = reached.find(0)
        return None if lost < 0 else lost

    def trace(self, number: int) -> tuple[str, ...]:
        way = []
        while number > 0:
            way.append(number)
            number = self.found[number][0]
        return tuple(self.lines(reversed(way)))

    def lines(self, way: Iterable[int]) -> Iterable[str]:
        names = ["ann", "bob", "eve", "joe", "kim", "lea", "max", "ned", "pia", "roy"]
        _, _, order = self.found[0]
        for place, number in enumerate(way, start=1):
            _, step, order = self.found[number]
            assert step is not None
            said = _sentence(step, names)
            if step.does == "kill":
                assert isinstance(step.args[0], int)
                names[step.args[0]] = names.pop(self.scene.workers)
            names = [*(names[each] for each in order), *names[self.scene.workers :]]
            yield f"{place:3}. {said:60} {self.view(number)}"

    def view(self, number: int) -> str:
        world = World.thaw(self.scene, self.rules, self.states[number])
        mails = zip(world.ledger.mails, world.copies, strict=True)
        return "; ".join(f"mail {row}: {_told_of(mail, copies)}" for row, (mail, copies) in enumerate(mails))


def _told_of(mail: Mail, copies: int) -> str:
    return f"{STATES[mail.state]}, {copies} sent"


STATES = {
    **{"q": "queued", "w": "waiting", "o": "queued alone", "s": "sending", "d": "in doubt", "a": "accepted"},
    **{"r": "rejected", "x": "exhausted", "e": "expired", "c": "cancelled", "u": "unresolved"},
}


def _sentence(step: Step, names: Sequence[str]) -> str:
    return f"{step.does} {step.args} {names[step.args[0]] if step.args and isinstance(step.args[0], int) else ''}"


def explore(scene: Scene, rules: Rules = ALL, only: Iterable[str] = SENTENCES) -> Explored:
    """All of a scene. `only`: the promises that are looked at."""
    return Search(scene, rules, only).run()
