"""`postroom keys`: who is let in at the gateway."""

import time
from typing import TYPE_CHECKING

import click

from postroom.mail.limits import MAIL_BYTES
from postroom.names import Lane
from postroom.settings import Settings
from producers.cli.failure import CommandFailed
from producers.cli.mails import at
from producers.cli.options import Duration, json_option
from producers.cli.output import BAD, GOOD, QUIET, Output, Part

if TYPE_CHECKING:
    from producers.gateway.key_store import KeyStore
    from producers.gateway.keys import Key


@click.group(name="keys")
def command() -> None:
    """Let apps in at the gateway, each with a key of its own. Each of these commands takes --json."""


@command.command(name="add")
@click.argument("name")
@click.option(
    "--lane", type=click.Choice([*map(str, Lane)]), help="All that it sends; else mails transactional, batches bulk."
)
@click.option(
    "--from-domain",
    "domains",
    multiple=True,
    required=True,
    metavar="DOMAIN",
    help="Again for more; '*' is all of them.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1, MAIL_BYTES),
    default=MAIL_BYTES,
    show_default=True,
    help="The most of one mail.",
)
@click.option("--expires-in", type=Duration(), metavar="DURATION", help="It is refused later: 12h, 90d.")
@json_option
@click.pass_obj
def add(
    out: Output,
    /,
    name: str,
    *,
    lane: str | None,
    domains: tuple[str, ...],
    max_bytes: int,
    expires_in: float | None,
) -> int:
    r"""Make a key, and show its token, this once.

    \b
    postroom keys add shop --from-domain example.com
    postroom keys add letters --from-domain news.example.com --lane bulk --expires-in 90d

    The app uses the token as its SendGrid key. Keys of one NAME belong to one app and share its idempotency keys: to
    change a key, add a second one, and revoke the first when the app has the new one.
    """
    from producers.gateway.keys import new_key  # noqa: PLC0415  # not for the help

    try:
        key, token = new_key(
            _checked(name),
            from_domains=domains,
            now=time.time(),
            lane=None if lane is None else Lane(lane),
            max_bytes=max_bytes,
            expires_in=expires_in,
        )
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    with _open() as store:
        store.add(key)
    out.document({**_document(key), "token": token})
    out.say((token, GOOD))
    out.note((f"This is the only time that the token of {key.id} is shown.", QUIET))
    return 0


@command.command(name="list")
@json_option
@click.pass_obj
def list_keys(out: Output, /) -> int:
    """List the keys, without their tokens."""
    with _open() as store:
        keys = store.all()
    out.document({"keys": [_document(key) for key in keys]})
    if not keys:
        out.say("No keys: postroom keys add NAME --from-domain example.com")
        return 0
    out.table(("id", "name", "lane", "may send from", "max bytes", "since", "expires"), map(_row, keys))
    return 0


@command.command(name="revoke")
@click.argument("id")
@json_option
@click.pass_obj
def revoke(out: Output, /, id: str) -> int:
    """Delete a key; gateways refuse it within a second. What it has sent stays queued."""
    from producers.gateway.keys import is_key_id  # noqa: PLC0415  # as above

    with _open() as store:
        if not is_key_id(id) or not store.revoke(id):
            message = f"No key has the id {id!r}."
            raise CommandFailed("unknown_id", message, advice="postroom keys list shows them.", id=id)
    out.document({"revoked": id})
    out.say((f"{id} is revoked.", GOOD))
    return 0


def _open() -> "KeyStore":
    from producers.gateway.key_store import KeyStore  # noqa: PLC0415  # it loads Celery and Redis' client

    return KeyStore(Settings.from_environment())


def _checked(name: str) -> str:
    if not 0 < len(name) <= 100 or not name.isprintable() or " " in name:
        raise click.UsageError("NAME has 1 to 100 visible characters, and no spaces.")
    return name


def _document(key: "Key") -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "lane": key.lane,
        "from_domains": key.from_domains,
        "max_bytes": key.max_bytes,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "is_expired": key.is_expired(time.time()),
    }


def _row(key: "Key") -> tuple[Part, ...]:
    expires: Part = "never" if key.expires_at is None else at(key.expires_at)
    if key.is_expired(time.time()):
        expires = (f"{at(key.expires_at or 0)}: expired", BAD)
    lane = str(key.lane or "by call")
    return key.id, key.name, lane, ", ".join(key.from_domains), f"{key.max_bytes:,}", at(key.created_at), expires
