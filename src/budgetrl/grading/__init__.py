"""Grading: extract the answer from a response, compare it with the gold answer, and produce an outcome."""
