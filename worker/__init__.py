"""Postroom's door out: `celery -A worker worker` sends the mail that waits.

The name that Celery looks for is `app`; it is configured by `celeryconfig.py` alone.
"""

import sys

from postroom.app import app
from postroom.errors import ConfigurationError
from worker.caretaker_step import CaretakerStep

try:
    app.conf.broker_url  # noqa: B018  # reads the configuration
except ConfigurationError as error:
    sys.stderr.write(f"postroom: {error}\n")
    raise SystemExit(2) from None

app.steps["worker"].add(CaretakerStep)

__all__ = ["app"]
