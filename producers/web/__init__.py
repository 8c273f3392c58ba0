"""What the doors of the web frameworks have in common: answers to errors, and the live progress of batches.

It knows no framework: `producers.starlette`, `producers.fastapi` and `producers.flask` do.
"""
