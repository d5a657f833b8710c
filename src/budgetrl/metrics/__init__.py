"""Metrics: their definitions, keys, values and standard errors."""
