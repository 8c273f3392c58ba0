"""Fuzz: nonsense into every door; it is taken, or refused in clear words.

`python -m tests.chaos.fuzz --times 100000 --seed 1` spreads the times over mails, files of mails, arguments of the
client's calls, and steps of the ledger.
"""
