"""Victim: the Celery app of the workers that chaos kills: `celery -A tests.chaos.victim worker`.

It is `worker`'s own, with fail points and a diary woven in; what they do is said by the environment.
"""

import os

from tests.chaos import clock  # first of all, so that everybody takes the time from it

clock.move(os.environ)

from tests.chaos import diary, failpoints, poison  # noqa: E402
from worker import app  # noqa: E402

diary.weave_work()
failpoints.weave_worker()
diary.weave_messages()
poison.weave()
failpoints.arm(os.environ)
diary.keep(os.environ)
poison.take(os.environ)

__all__ = ["app"]
