"""Chaos: real fleets are killed and disturbed; acceptance log and ledger show what became of their mails."""
