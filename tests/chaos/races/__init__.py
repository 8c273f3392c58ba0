"""Races: many at once at the same mail.

`python -m tests.chaos.races cancel --times 20000` cancels mails while they are sent;
`python -m tests.chaos.races same_key --times 5000` has many producers enqueue under one key at the same moment.
"""
