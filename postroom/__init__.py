"""What both sides of Redis agree on: the mail, its states, and the ledger that keeps them."""
