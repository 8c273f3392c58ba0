"""Results: the figures of all runs, a line of JSON each, and what they come to: `python -m tests.chaos.results`."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results.jsonl"


def append(result: dict[str, Any], path: Path = RESULTS) -> None:
    with path.open("a") as file:
        file.write(json.dumps(result) + "\n")


def read(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The runs of scenarios; other programs have lines of their own in the file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [result for result in map(json.loads, lines) if "scenario" in result]


def most_probable(trials: int, *, confidence: float = 0.95) -> float:
    """How probable a thing may be at most that was not seen in so many independent trials.

    >>> round(most_probable(2000), 6)
    0.001497
    """
    return 1.0 - (1.0 - confidence) ** (1 / trials)


def _sum(results: Iterable[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update({name: result[name] for name in ("rounds", "mails", "kills", "producer_kills", "doubts")})
        total.update({name: result[name] for name in ("lost", "false_accepted")})
        total.update({f"duplicates under {policy}": count for policy, count in result["duplicates"].items()})
        total.update(result["events"])
        total["violations"] += len(result["violations"])
    return total


def summary(results: list[dict[str, Any]]) -> str:
    """A paragraph a scenario, the hits of each point, and the bound that follows from what was not seen."""
    of_scenario: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        of_scenario[result["scenario"]].append(result)
    lines = []
    for scenario, runs in of_scenario.items():
        seeds = ", ".join(str(run["seed"]) for run in runs)
        figures = ", ".join(f"{count} {name}" for name, count in _sum(runs).items())
        lines.append(f"{scenario} (seeds {seeds}): {figures}")
    total = _sum(results)
    hits: Counter[str] = Counter()
    for result in results:
        hits.update(result["hits"])
    lines.append("hits: " + ", ".join(f"{point} {count}" for point, count in sorted(hits.items())))
    kills = total["kills"] + total["producer_kills"]
    lines.append(f"in all: {kills} kills, {total['mails']} mails, {total['violations']} violations")
    if kills and not total["violations"]:
        lines.append(f"at 95 %, a kill breaks something with a probability below {most_probable(kills):.2e}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary(read()))
