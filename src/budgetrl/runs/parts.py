"""The parts of a pipeline by the names of their folders, which its numbers and hashes have in front of theirs too."""

COLD_START = "cold_start"
LABEL = "label"
GRPO = "grpo"
INITIAL = "initial"
"""The evaluation of the model that the pipeline began with."""
TRAINED = "trained"
"""The evaluation of the model that came out."""
EVALUATIONS = (INITIAL, TRAINED)
