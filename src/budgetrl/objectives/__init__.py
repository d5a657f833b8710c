"""Losses of supervised training, one file each. A class is its settings."""
