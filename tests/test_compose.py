"""The Compose file: a whole stack that keeps Postroom's promise and shows itself to nobody else."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from postroom.settings import Settings
from tests.servers import (
    ROOT,
    Program,
    RedisServer,
    SandboxServer,
    Worker,
    clean_environment,
    eventually,
    free_port,
    running,
)

FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
COMPOSE = shutil.which("docker-compose")


class Flower(Program):
    """A Flower that runs with the words of the Compose file, on another port, with the password `secret`."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        service = SERVICES["flower"]
        words = [word.replace("5555", str(self.port)) for word in service["command"]]
        login = re.sub(r"\$\{FLOWER_PASSWORD:.*\}", "secret", service["environment"]["FLOWER_BASIC_AUTH"])
        environment = {
            "POSTROOM_REDIS_URL": redis_url,
            "FLOWER_BASIC_AUTH": login,
            "FLOWER_ADDRESS": "127.0.0.1",
        }
        super().__init__("flower", [sys.executable, "-m", *words], directory / "flower.log", environment)

    def is_ready(self) -> bool:
        try:
            return httpx.get(self.url, trust_env=False).status_code > 0
        except httpx.TransportError:
            return False


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is not installed")
def test_docker_compose_accepts_the_file() -> None:
    environment = {"SENDGRID_API_KEY": "SG.test", "FLOWER_PASSWORD": "secret"}
    command = [str(COMPOSE), "--file", str(FILE), "--profile", "sandbox", "config", "--quiet"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(COMPOSE is None, reason="docker-compose is not installed")
@pytest.mark.parametrize("missing", ["SENDGRID_API_KEY", "FLOWER_PASSWORD"])
def test_the_stack_does_not_start_without_its_secrets(missing: str) -> None:
    environment = {"SENDGRID_API_KEY": "SG.test", "FLOWER_PASSWORD": "secret"}
    del environment[missing]
    command = [str(COMPOSE), "--file", str(FILE), "config", "--quiet"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "set it to" in result.stderr


def test_redis_fsyncs_before_it_answers_and_evicts_nothing(tmp_path: Path) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    server = RedisServer(tmp_path)
    server.command = [server.command[0], *SERVICES["redis"]["command"][1:], "--bind", "127.0.0.1"]
    server.command += ["--port", str(server.port), "--dir", str(tmp_path)]
    with running(server):
        config = server.client(decode_responses=True).config_get(*wanted, "maxmemory")
    assert {name: config[name] for name in wanted} == wanted
    assert config["maxmemory"] not in (None, "0")


def test_flower_shows_nothing_without_the_password(tmp_path: Path, redis_url: str) -> None:
    with running(Flower(tmp_path, redis_url)) as flower, httpx.Client(base_url=flower.url, trust_env=False) as client:
        for page in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
            assert client.get(page).status_code == 401, page
        assert client.get("/workers", auth=("postroom", "secret")).status_code == 200


def test_the_worker_has_longer_to_stop_than_a_request_may_take() -> None:
    grace = SERVICES["worker"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings().request_deadline


def test_only_this_machine_reaches_the_published_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_health_check_tells_a_live_worker_from_a_dead_one(
    redis_url: str, worker_process: Callable[..., Worker]
) -> None:
    worker = worker_process("--without-mingle")
    assert health(redis_url) == 0
    worker.kill()
    eventually(lambda: health(redis_url) != 0, describe="the dead worker is noticed")


def health(redis_url: str) -> int:
    """The exit code of the worker's health check."""
    _cmd, _postroom, *words = SERVICES["worker"]["healthcheck"]["test"]
    command = [sys.executable, "-m", "producers.cli", *words]
    environment = clean_environment() | {"POSTROOM_REDIS_URL": redis_url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports"} & SERVICES["worker"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_change_nothing_but_its_data(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_sandbox_and_gateway_start_only_on_request() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"sandbox", "gateway"}


def test_the_sandbox_takes_the_words_of_the_compose_file(tmp_path: Path) -> None:
    log = str(tmp_path / "accepted.jsonl")
    here = {"python": sys.executable, "0.0.0.0": "127.0.0.1", "8025": "0", "/tmp/accepted.jsonl": log}
    sandbox = SandboxServer(tmp_path)
    sandbox.command = [here.get(word, word) for word in SERVICES["sandbox"]["command"]]
    with running(sandbox):
        assert httpx.get(sandbox.url, trust_env=False).status_code == 200


def test_the_image_gets_every_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "requirements"} <= copied


def test_the_gateway_takes_the_words_of_the_compose_file(tmp_path: Path, redis_url: str) -> None:
    """They are read, and it does not start open to others without keys."""
    here = {"postroom": [sys.executable, "-m", "producers.cli"], "8080": ["0"]}
    words = [part for word in SERVICES["gateway"]["command"] for part in here.get(word, [word])]
    environment = clean_environment() | {"POSTROOM_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    refused = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert refused.returncode == 2
    assert "postroom keys add" in refused.stderr
