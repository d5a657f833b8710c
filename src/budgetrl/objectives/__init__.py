"""Losses for supervised training, one file per objective. The fields of each class are its settings."""
