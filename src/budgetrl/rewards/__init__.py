"""The rewards: one file per method, found by name. Pure functions on outcomes."""
