"""Kinds of data sources, one module each."""
