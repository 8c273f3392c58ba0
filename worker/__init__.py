"""Postroom's door out: `celery -A worker worker` sends the mail that waits.

The name that Celery looks for is `app`; it is configured by `celeryconfig.py` alone.
"""

from postroom.app import app
from worker.caretaker_step import CaretakerStep

app.steps["worker"].add(CaretakerStep)

__all__ = ["app"]
