"""`python -m tests.protocol`: explore every scene; with the names of rules: show what breaks without each."""

import sys

from tests.protocol.breaks import BREAKS
from tests.protocol.exploration import explore
from tests.protocol.rules import ALL
from tests.protocol.scenes import SCENES


def main(rules: list[str]) -> None:
    for rule in rules:
        promise, scene = BREAKS[rule]
        sys.stdout.write(f"Without {rule}. {explore(scene, ALL.without(rule), [promise])}\n")
    for name, scene in SCENES.items() if not rules else ():
        sys.stdout.write(f"{name}: {explore(scene)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
