"""Hashes of everything that the metrics of an evaluation depend on. Metrics are comparable if their hashes agree."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

from budgetrl.core.records import Problem
from budgetrl.grading.grader import GRADER_VERSION

PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")
"""The packages that compare answers; another version may give other verdicts."""

Hashes = dict[str, str]
"""Hash by what it covers: `problems`, `prompt`, `sampling`, `measure`, `grader`."""


def evaluation_hashes(
    problems: Sequence[Problem], prompts: Sequence[str], sampling: Mapping[str, object], measure: str
) -> Hashes:
    """Return the hashes for the evaluation of one data set.

    - `problems`: ids, questions and gold answers.
    - `prompt`: the complete prompts. They include chat template and instruction, so two formats differ.
    - `sampling`: temperature, token limit and samples per problem, but not the engine.
    - `measure`: what lengths measure (see `measure_hash`).
    - `grader`: see `grader_hash`.
    """
    return {
        "problems": _hash([[p.id, p.problem, p.answer] for p in problems]),
        "prompt": _hash(list(prompts)),
        "sampling": _hash(dict(sampling)),
        "measure": measure,
        "grader": grader_hash(),
    }


def measure_hash(length: str, vocabulary: Mapping[str, int]) -> str:
    """Return the hash of what lengths measure: `length` (`model.length`, which tokens count) and the vocabulary.

    Only the vocabulary of the tokenizer is hashed, because it is the same in every checkpoint of a model.
    """
    return _hash([length, sorted(vocabulary.items())])


@cache
def grader_hash() -> str:
    """Return the hash of the grader's version and of the versions of `PACKAGES`."""
    return _hash([GRADER_VERSION, *map(version, PACKAGES)])


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]  # 64 bits, short enough to read in a file
