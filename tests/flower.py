"""Flower: the page on which an operator watches the workers, as a server for tests."""

import sys
from pathlib import Path
from typing import Any

import httpx

from tests.servers import Program, free_port

LOGIN = ("postroom", "secret")

#: The rows of the page of tasks, which a browser fetches after the page.
TASK_TABLE = (
    "/tasks/datatable?draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=asc"
    "&columns[0][data]=received"
)


class Flower(Program):
    """A Flower for the workers of one Redis."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        words = ["celery", "-A", "worker", "flower", "--address=127.0.0.1", f"--port={port}"]
        environment = {"POSTROOM_REDIS_URL": redis_url, "FLOWER_BASIC_AUTH": ":".join(LOGIN)}
        super().__init__("flower", [sys.executable, "-m", *words], directory / "flower.log", environment)

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthcheck", trust_env=False, verify=False).is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        """Ask as the operator. Fails for an answer that is none."""
        return httpx.get(self.url + path, auth=LOGIN, trust_env=False, verify=False, timeout=30).raise_for_status()

    def workers(self) -> dict[str, Any]:
        """What `/api/workers` says, by worker; empty until Flower has heard of one."""
        found: dict[str, Any] = self.get("/api/workers?refresh=1").json()
        return found

    def tasks(self) -> dict[str, Any]:
        """What `/api/tasks` says, by task id."""
        found: dict[str, Any] = self.get("/api/tasks").json()
        return found
