"""Decoding methods: one module each, found by name. A class's fields are the method's settings."""
