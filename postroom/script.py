"""Script: one step of the ledger, in Lua, run by Redis as a whole or not at all."""

import hashlib
from importlib.resources import files
from typing import NamedTuple

#: Flags for Redis (https://redis.io/docs/latest/develop/programmability/eval-intro/#script-flags). Only the steps
#: that take new mail may be refused for want of memory: a settle that was refused would put mails in doubt.
TAKES_MAIL = "#!lua\n"
ALWAYS_RUNS = "#!lua flags=allow-oom\n"
READS_ONLY = "#!lua flags=no-writes,allow-oom\n"

#: Every step: its flags, and the files that stand before it besides `common`.
STEPS = {
    "enqueue": (TAKES_MAIL, ("memory", "lane")),
    "open_batch": (TAKES_MAIL, ("memory",)),
    "store_chunk": (TAKES_MAIL, ("memory",)),
    "seal": (ALWAYS_RUNS, ()),
    "drop_batch": (ALWAYS_RUNS, ("drop",)),
    "announce_batch": (ALWAYS_RUNS, ("announce",)),
    "claim": (ALWAYS_RUNS, ("pace", "account", "lane")),
    "settle": (ALWAYS_RUNS, ("pace", "account")),
    "sweep": (ALWAYS_RUNS, ("judge", "lane", "announce", "report", "drop")),
    "wake": (ALWAYS_RUNS, ("lane",)),
    "trim": (ALWAYS_RUNS, ()),
    "kept": (READS_ONLY, ()),
    "cancel": (ALWAYS_RUNS, ()),
    "retry": (ALWAYS_RUNS, ("lane", "report")),
    "purge": (ALWAYS_RUNS, ()),
    "recover": (ALWAYS_RUNS, ()),
    "record_report": (ALWAYS_RUNS, ("report",)),
    "then_published": (ALWAYS_RUNS, ()),
    "keep_garbage": (ALWAYS_RUNS, ()),
    "show_pace": (READS_ONLY, ("pace",)),
    "status": (READS_ONLY, ()),
    "failed": (READS_ONLY, ()),
    "dead": (READS_ONLY, ()),
    "doubts": (READS_ONLY, ()),
}


class Script(NamedTuple):
    """A step's whole text, and the SHA-1 by which Redis knows it."""

    name: str
    text: str
    sha: str


def load(name: str) -> Script:
    flags, included = STEPS[name]
    lua = files("postroom") / "lua"
    text = flags + "\n".join((lua / f"{part}.lua").read_text() for part in ("common", *included, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPTS = {name: load(name) for name in STEPS}
