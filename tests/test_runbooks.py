"""The runbooks quote what the code says, and name commands that there are."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from producers.cli.commands import postroom
from tests.servers import ROOT

RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()

#: Stands for what differs.
ANY = "…"


def blocks(kind: str) -> list[str]:
    """The lines of all blocks of a kind, each once."""
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```$", RUNBOOKS, re.MULTILINE | re.DOTALL)
    return list(dict.fromkeys(line.strip() for block in found for line in block.splitlines()))


def sources(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted(Path(ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text())


def template(node: ast.expr) -> str | None:
    """A text as it is written in the source, with `…` for each value that is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sdg]", ANY, node.value).split("\n")[0]
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or ANY for part in node.values)
    return None


@cache
def texts(*folders: str) -> set[str]:
    """All texts in the source."""
    nodes = (node for module in sources(*folders) for node in ast.walk(module) if isinstance(node, ast.expr))
    return {text for node in nodes if (text := template(node))}


@cache
def logged(*folders: str) -> set[str]:
    """What is given to a logger, by itself or by the name of a constant of its module."""
    found = set()
    for module in sources(*folders):
        constants = {
            target.id: template(node.value)
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger."):
                said = node.args[0]
                found.add(constants.get(said.id) if isinstance(said, ast.Name) else template(said))
    return {text for text in found if text}


def test_a_line_that_nobody_writes_would_be_found() -> None:
    assert "Worker … is dead; its mails on the wire are in doubt" in logged("worker")
    assert "Worker … is ill; its mails on the wire are in doubt" not in logged("worker")
    assert "none was heard of for 6 s" not in texts("producers/cli/health")


@pytest.mark.parametrize("line", blocks("log"))
def test_a_quoted_line_of_the_log_is_written_by_a_worker(line: str) -> None:
    assert line in logged("worker")


@pytest.mark.parametrize("line", blocks("doctor"))
def test_a_quoted_line_of_the_doctor_is_one_of_his(line: str) -> None:
    said = re.fullmatch(r"[✗!] ([^:]+): (.*)", line)
    assert said
    assert said[1] in texts("producers/cli/health")
    assert said[2] in texts("producers/cli") | {ANY}


@pytest.mark.parametrize("line", blocks("error"))
def test_a_quoted_error_is_one_of_the_code(line: str) -> None:
    whole = texts("postroom", "producers", "worker")
    known = {"it may be enqueued: repeat with the same id", "nothing was enqueued"}
    assert line in whole | {f"Redis is not reachable (…); {end}" for end in known & whole}


@pytest.mark.parametrize("line", [line for line in blocks("sh") if line.startswith("postroom ")])
def test_a_command_is_one_that_can_be_given(line: str) -> None:
    """It is parsed and not run."""
    command: click.Command = postroom
    context = click.Context(command, info_name="postroom")
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, name
        command = found
    taken = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= taken


def test_every_runbook_is_in_the_table_and_every_link_leads_somewhere() -> None:
    titles = re.findall(r"^## (.+)$", RUNBOOKS, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    table = RUNBOOKS.partition("\n## ")[0]
    assert set(re.findall(r"\]\(#([^)]+)\)", table)) == anchors
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOKS)) <= anchors


def test_each_runbook_says_what_to_do() -> None:
    for runbook in RUNBOOKS.split("\n## ")[1:]:
        title, _, text = runbook.partition("\n")
        assert "**You do**" in text or title in ("A clock jumps", "Deploying and upgrading"), title
