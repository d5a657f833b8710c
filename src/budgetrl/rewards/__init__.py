"""Reward functions: one file per method, found by name. Each is a pure function of a group of outcomes."""
