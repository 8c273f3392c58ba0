"""Script: one step of the ledger, in Lua, run by Redis as a whole or not at all."""

import hashlib
from importlib.resources import files
from typing import NamedTuple

#: Flags for Redis (https://redis.io/docs/latest/develop/programmability/eval-intro/#script-flags). Only the steps
#: that take new mail may be refused for want of memory: a settle that was refused would put mails in doubt.
TAKES_MAIL = "#!lua\n"
ALWAYS_RUNS = "#!lua flags=allow-oom\n"
READS_ONLY = "#!lua flags=no-writes,allow-oom\n"

#: What a step needs that has to do with mails, not only with keys.
MAILS = ("states", "chunk")

#: Every step: its flags, and the files that stand before it besides `basis`.
STEPS = {
    "enqueue": (TAKES_MAIL, ("memory", "lane")),
    "open_batch": (TAKES_MAIL, ("memory",)),
    "store_chunk": (TAKES_MAIL, ("memory",)),
    "seal": (ALWAYS_RUNS, MAILS),
    "drop_batch": (ALWAYS_RUNS, ("drop",)),
    "announce_batch": (ALWAYS_RUNS, ("announce",)),
    "claim": (ALWAYS_RUNS, (*MAILS, "pace", "account", "lane")),
    "settle": (ALWAYS_RUNS, (*MAILS, "pace", "account", "proof")),
    "events": (ALWAYS_RUNS, (*MAILS, "proof", "delivery")),
    "sweep": (ALWAYS_RUNS, (*MAILS, "judge", "lane", "announce", "report", "drop")),
    "wake": (ALWAYS_RUNS, (*MAILS, "lane")),
    "trim": (ALWAYS_RUNS, MAILS),
    "kept": (READS_ONLY, MAILS),
    "cancel": (ALWAYS_RUNS, MAILS),
    "retry": (ALWAYS_RUNS, (*MAILS, "lane", "report")),
    "purge": (ALWAYS_RUNS, MAILS),
    "recover": (ALWAYS_RUNS, MAILS),
    "record_report": (ALWAYS_RUNS, ("states", "report")),
    "then_published": (ALWAYS_RUNS, ()),
    "keep_garbage": (ALWAYS_RUNS, ()),
    "show_pace": (READS_ONLY, ("pace",)),
    "status": (READS_ONLY, MAILS),
    "failed": (READS_ONLY, ("states",)),
    "dead": (READS_ONLY, MAILS),
    "doubts": (READS_ONLY, MAILS),
}


class Script(NamedTuple):
    """A step's whole text, and the SHA-1 by which Redis knows it."""

    name: str
    text: str
    sha: str


def load(name: str) -> Script:
    flags, included = STEPS[name]
    lua = files("postroom") / "lua"
    text = flags + "\n".join((lua / f"{part}.lua").read_text() for part in ("basis", *included, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {name: load(name) for name in STEPS}
