"""Names of the parts of a pipeline: their folders, and the prefixes of their metrics and hashes."""

COLD_START = "cold_start"
LABEL = "label"
GRPO = "grpo"
INITIAL = "initial"
"""Evaluation of the model that the pipeline starts from."""
TRAINED = "trained"
"""Evaluation of the model after training."""
EVALUATIONS = (INITIAL, TRAINED)
