"""Flower: an operator sees every worker and every task, and of a task no more than its ids."""

import re
from collections.abc import Callable
from pathlib import Path

from postroom.settings import Settings
from producers import Postroom
from tests.flower import TASK_TABLE, Flower
from tests.mails import mail, mails
from tests.servers import SandboxServer, Worker, eventually, running

#: The one argument of a task: the id of a batch or chunk, or a lane.
ARGS = r"[(\[]'([a-z2-7]{20}(\.\d+)?|transactional|bulk)',?[)\]]"


def test_flower_shows_both_workers_and_their_tasks_and_of_each_task_ids_only(
    redis_url: str, sandbox_server: SandboxServer, worker_process: Callable[..., Worker], tmp_path: Path
) -> None:
    sandbox_server.faults([{"fault": "latency", "latency": 0.1}])
    with running(Flower(tmp_path, redis_url)) as flower:
        for _ in range(2):
            worker_process("--concurrency", "2", POSTROOM_WINDOW="2")
        with Postroom(Settings(redis_url=redis_url, chunk_mails=5)) as postroom:
            single = postroom.enqueue(mail())
            batch = postroom.enqueue_batch(mails(50))
            batch.wait(30)
            eventually(lambda: postroom.status(single).state == "accepted")

        wanted = {f"drain-{single}", batch.id, *(f"{batch.id}.{row}" for row in range(0, 50, 5))}
        eventually(lambda: flower.tasks().keys() >= wanted, 20)
        eventually(lambda: all(task["state"] in ("SUCCESS", "IGNORED") for task in flower.tasks().values()), 20)
        tasks = flower.tasks()
        workers = flower.workers()
        assert {name.partition("@")[0] for name in workers} == {"worker1", "worker2"}
        assert {task["worker"] for task in tasks.values()} == set(workers)
        assert all(name in flower.get("/workers").text for name in workers)
        for task in tasks.values():
            assert re.fullmatch(ARGS, task["args"])
            assert task["kwargs"] == "{}"
            assert task["exception"] is None

        table = flower.get(TASK_TABLE).json()
        assert {row["uuid"] for row in table["data"]} >= wanted
