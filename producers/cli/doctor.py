"""`postroom doctor`: looks at what Postroom needs, and says what to do about what is wrong."""

import click

from producers.cli.health.finding import Finding
from producers.cli.options import json_option
from producers.cli.output import BAD, GOOD, QUIET, WARNING, Output


@click.command(name="doctor")
@click.option("--worker", is_flag=True, help="Only look whether a worker on this host is alive; answers within 1 s.")
@json_option
@click.pass_obj
def command(out: Output, /, worker: bool) -> int:
    """Look at the settings, Redis, the workers and the way to SendGrid, and say what to do.

    Nothing is enqueued or sent. ✓ is fine, ! worth a look, ✗ to be mended. Exits with 1 if anything is to be mended.
    """
    from producers.cli.health import diagnosis  # noqa: PLC0415  # it loads Redis' client

    findings = []
    for finding in [diagnosis.worker_of_this_host()] if worker else diagnosis.diagnose():
        _show(out, finding)
        findings.append(finding)
    is_well = not any(finding.is_ill for finding in findings)
    out.document({"ok": is_well, "checks": [finding.to_json() for finding in findings]})
    return 0 if is_well else 1


def _show(out: Output, finding: Finding) -> None:
    mark = ("✓", GOOD) if finding.ok else ("✗", BAD) if finding.essential else ("!", WARNING)
    out.say(mark, f" {finding.name}: {finding.detail}")
    if finding.advice and not finding.ok:
        out.say(("  → ", QUIET), finding.advice)
