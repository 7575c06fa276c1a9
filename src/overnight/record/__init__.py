"""The record: the ledger, its tables, the notes, the lock. It may import repo and lower rooms."""
