"""The gateway's OpenAPI: the document says what there is, and schemathesis finds nothing else."""

import re
import subprocess
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from producers.gateway.openapi import document
from tests.gateway import Gateway
from tests.servers import ROOT, RedisServer, clean_environment, running
from tests.webhook import Signer

#: All of them but one: SendGrid has more rules than a schema can say, so a body that fits it may be refused.
LEFT_OUT = "positive_data_acceptance"


@pytest.fixture(scope="module")
def gateway(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {"POSTROOM_WEBHOOK_KEY": Signer().public_key}
    with running(Gateway(tmp_path_factory.mktemp("gateway"), redis_server.url, **settings)) as gateway:
        yield gateway


def test_the_document_is_served_as_it_is_made(gateway: Gateway) -> None:
    answer = httpx.get(f"{gateway.url}/openapi.json", trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == document()


def test_the_page_shows_every_call_and_needs_nothing_from_elsewhere(gateway: Gateway) -> None:
    page = httpx.get(f"{gateway.url}/docs", trust_env=False)
    assert page.headers["content-type"].startswith("text/html")
    for path in document()["paths"]:
        assert f"<code>{path}</code>" in page.text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.text)
    assert "<script" not in page.text


def test_whatever_the_document_refers_to_is_in_it() -> None:
    for name in re.findall(r"#/components/schemas/([\w.]+)", repr(document())):
        assert name in document()["components"]["schemas"]


@pytest.mark.timeout(300)
def test_schemathesis_finds_no_fault(gateway: Gateway, tmp_path: Path) -> None:
    """Examples at the limits of the schema, random ones in it and beside it, and calls that follow one another."""
    token = gateway.token(from_domains=["*"])
    command = [
        *(f"{sysconfig.get_path('scripts')}/schemathesis", "run", f"{gateway.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", "10", "--seed", "1"),
        *("--warnings", "off", "--suppress-health-check", "all", "--no-color"),
    ]
    environment = clean_environment() | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks"}
    environment["PYTHONPATH"] = str(ROOT / "tests" / "data" / "gateway")
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr
    statuses = Counter(line["status"] for line in gateway.journal() if "status" in line)
    assert statuses.keys() >= {200, 202, 400, 401, 403, 404}
    assert max(statuses) < 500
