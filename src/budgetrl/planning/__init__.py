"""Computes what a run will do before it starts: batch sizes, tokens, memory, warnings, and values of `auto`."""
