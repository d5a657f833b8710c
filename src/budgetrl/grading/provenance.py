"""What the numbers of an evaluation depend on, as hashes: two numbers can be compared if they agree."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

from budgetrl.core.records import Problem
from budgetrl.grading.grader import GRADER_VERSION

PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")
"""The packages that compare answers."""

Hashes = dict[str, str]


def evaluation_hashes(
    problems: Sequence[Problem], prompts: Sequence[str], sampling: Mapping[str, object], measure: str
) -> Hashes:
    """The hashes of one data set.

    `problems`: ids, texts and gold answers. `prompt`: the texts that the model is given, which hold template and
    instructions, so that two formats differ. `sampling`: temperature, token limit and samples of a problem, not the
    engine. `measure`: see `measure_hash`. `grader`: see `grader_hash`.
    """
    return {
        "problems": _hash([[p.id, p.problem, p.answer] for p in problems]),
        "prompt": _hash(list(prompts)),
        "sampling": _hash(dict(sampling)),
        "measure": measure,
        "grader": grader_hash(),
    }


def measure_hash(length: str, vocabulary: Mapping[str, int]) -> str:
    """The hash of what a token is, and of which tokens count: the tokenizer's vocabulary, which stays the same in
    every checkpoint of a model, and `model.length`."""
    return _hash([length, sorted(vocabulary.items())])


@cache
def grader_hash() -> str:
    """The hash of the grader's version, and of the versions of the packages that it calls."""
    return _hash([GRADER_VERSION, *map(version, PACKAGES)])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
