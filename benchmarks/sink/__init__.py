"""Sink: nginx in SendGrid's place. It accepts every mail, and is never what is slow.

`$request_body` in its log tells whose mail came, so that a run can be checked for lost and repeated mails.
"""

import getpass
import os
import shutil
import string
import time
from collections import Counter
from pathlib import Path

from benchmarks.sink.certificates import Trust
from tests.servers import Program, free_port

_HERE = Path(__file__).parent
_MODULES = [Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/share/nginx/modules")]
_MISSING = (
    "The benchmark needs nginx with its echo module in SendGrid's place. On Debian and Ubuntu: "
    "apt-get update && apt-get install -y --no-install-recommends nginx libnginx-mod-http-echo"
)


class Sink(Program):
    """Listens on `url` and `url_tls` (TLS with HTTP/2), and on `url_slow` and `url_slow_tls`, with 100 ms of latency.

    Programs started with the variables in `trust.environment()` accept its certificate.
    """

    def __init__(self, directory: Path) -> None:
        self._home = directory / "sink"
        (self._home / "temp").mkdir(parents=True)
        self.trust = Trust(self._home)
        ports = {name: free_port() for name in ("PLAIN", "TLS", "SLOW", "SLOWTLS")}
        self.url, self.url_slow = (f"http://127.0.0.1:{ports[name]}" for name in ("PLAIN", "SLOW"))
        self.url_tls, self.url_slow_tls = (f"https://127.0.0.1:{ports[name]}" for name in ("TLS", "SLOWTLS"))
        self._log = self._home / "arrivals.log"
        self._read_to = 0
        self._readers: Counter[int] = Counter()
        self._last = 0.0
        nginx, module = _installed()
        user = f"user {getpass.getuser()};" if os.getuid() == 0 else ""
        text = string.Template((_HERE / "nginx.conf").read_text())
        (self._home / "nginx.conf").write_text(text.safe_substitute(ports, ECHO_MODULE=module, USER=user))
        command = [nginx, "-p", str(self._home), "-c", "nginx.conf", "-e", "error.log"]
        super().__init__("sink", command, self._home / "sink.log")

    def is_ready(self) -> bool:
        return (self._home / "nginx.pid").exists()

    def forget(self) -> None:
        """Begin a new count."""
        self._read()
        self._readers.clear()

    def arrived(self) -> int:
        """How many mails have come since `forget()`. May be late by 50 ms."""
        self._read()
        return self._readers.total()

    def different(self, count: int) -> int:
        """Of the mails to the first `count` readers, how many have come, copies not counted."""
        self._read()
        return sum(number < count for number in self._readers)

    @property
    def last_at(self) -> float:
        """Unix time at which the last of them came."""
        return self._last

    def wait(self, count: int, timeout: float) -> bool:
        """Whether `count` different mails have come before `timeout` seconds are over."""
        deadline = time.monotonic() + timeout
        while self.arrived() < count or len(self._readers) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _read(self) -> None:
        """What has been logged since the last look, whole lines only. Line: Unix time, reader's number."""
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.decode().splitlines():
            at, reader = line.split()
            self._readers[int(reader)] += 1
            self._last = max(self._last, float(at))


def _installed() -> tuple[str, Path]:
    """Where nginx and its echo module are. Ends the program with advice if they are not there."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")  # noqa: TID251
    modules = [path for directory in _MODULES if (path := directory / "ngx_http_echo_module.so").exists()]
    if not nginx or not modules:
        raise SystemExit(_MISSING)
    return nginx, modules[0]
