"""The webhook door: SendGrid posts there what becomes of the mails that it has accepted.

    app = Starlette(routes=[*others, *routes(postroom, settings)])

In another framework, check the signature and hand over the body:

    signatures = Signatures(settings.webhook_key)
    if signatures.hold(signature, timestamp, body):  # the two headers `SIGNATURE` and `TIMESTAMP`
        postroom.evidence(body)
"""

from producers.webhook.signature import SIGNATURE, TIMESTAMP, Signatures

__all__ = ["SIGNATURE", "TIMESTAMP", "Signatures", "routes"]


def __getattr__(name: str) -> object:
    """`routes` is loaded when it is asked for: Starlette need not be installed for the rest."""
    if name == "routes":
        from producers.webhook.door import routes  # noqa: PLC0415

        return routes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
