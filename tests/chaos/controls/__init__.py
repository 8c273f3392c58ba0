"""Controls: what plain Celery loses and repeats under the same faults, with the stock client and as its docs advise.

`python -m tests.chaos.controls --kills 200 --seed 1` prints a table.
"""
