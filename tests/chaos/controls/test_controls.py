"""The control in short: it shows that the harness sees a mail that is sent twice."""

import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.controls.trial import Worker, environment_of
from tests.servers import ROOT, RedisServer, SandboxServer, clean_environment, eventually, running
from tests.stack import copies

VISIBILITY_SECONDS = 2
ENQUEUE = "from tests.chaos.controls.producer import one_call; one_call(1)"


def test_plain_celery_sends_a_mail_again_whose_worker_was_killed(
    own_redis_server: RedisServer, sandbox_server: SandboxServer, tmp_path: Path
) -> None:
    environment = environment_of(own_redis_server, sandbox_server, tmp_path, VISIBILITY_SECONDS)
    sandbox_server.faults([{"fault": "accept_then_hang", "times": 1}])
    worker = Worker("plain", "threads", tmp_path, environment)

    with running(worker):
        subprocess.run([sys.executable, "-c", ENQUEUE], cwd=ROOT, env=clean_environment() | environment, check=True)
        eventually(lambda: copies(sandbox_server)["single-1"] == 1)
        worker.kill()
        eventually(lambda: is_visible_again(own_redis_server))
        worker.start()

        eventually(lambda: copies(sandbox_server)["single-1"] == 2, timeout=30)


def is_visible_again(redis: RedisServer) -> bool:
    """Whether the visibility timeout of some message has passed."""
    with redis.client() as client:
        return bool(client.zcount("unacked_index", "-inf", time.time() - VISIBILITY_SECONDS - 1))
