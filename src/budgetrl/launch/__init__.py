"""Starts the ranks of a run whose configuration is frozen. If one rank fails, all are stopped."""
