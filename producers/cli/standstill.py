"""Standstill: why the whole fleet is stopped, in words."""

from producers.cli.mails import at


def why_stopped(stopped: dict[str, str]) -> str:
    """From what the ledger notes of it; empty if the fleet is not stopped."""
    if not stopped:
        return ""
    since = at(float(stopped["at"]) / 1000)
    if stopped.get("why") == "recovering":
        return f"stopped since {since}: a recovery was begun and has not come to its end"
    step, seen = stopped.get("step", "?"), stopped.get("seen", "?")
    return f"stopped since {since}: Redis has forgotten something (it is at step {step}, a worker has seen {seen})"
