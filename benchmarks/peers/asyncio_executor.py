"""The asyncio recipe: `run_in_executor` with SendGrid's own client, in the web app itself. What it holds dies with it.

After https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.run_in_executor (the default executor).
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from sendgrid import SendGridAPIClient

client = SendGridAPIClient(os.environ["SENDGRID_API_KEY"], host=os.environ["SENDGRID_URL"])


async def send(mail: dict[str, Any]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, client.send, mail)


async def enqueue_all(mails: Sequence[dict[str, Any]]) -> None:
    await asyncio.gather(*map(send, mails))
