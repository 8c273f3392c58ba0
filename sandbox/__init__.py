"""A local SendGrid: it answers as SendGrid does, shows what it accepted, and misbehaves on request.

    python -m sandbox --port 8025 --log acceptance.jsonl

`run` is the same from a program. What can go wrong on request, and how to ask for it: `sandbox.faults`.
"""

from sandbox.server import run

__all__ = ["run"]
