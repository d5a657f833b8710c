"""What the numbers of an evaluation depend on, as hashes: two numbers can be compared if all of them are equal."""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from types import ModuleType

from budgetrl.budget import format as layout
from budgetrl.rollout.engine import Sampling
from budgetrl.verify import answers, pool, worker

PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")
GRADER: Sequence[ModuleType] = (layout, answers, pool, worker)
"""The modules that find an answer in a response and compare it."""


def hashes_of(prompts: Sequence[object], sampling: Sampling, samples: int) -> dict[str, str]:
    """What two evaluations must share for their numbers to be comparable.

    `prompt`: the texts that the model is given, which hold problems, template, instructions and budgets asked for;
    without the passes with pre-filled budgets, whose numbers say which. `sampling`: temperature, token limit and
    samples of a problem, not the engine. `grader`: see `grader_hash`.
    """
    drawn = {key: value for key, value in asdict(sampling).items() if key != "stop_ids"} | {"samples": samples}
    return {"prompt": _hash(prompts), "sampling": _hash(drawn), "grader": grader_hash()}


def grader_hash() -> str:
    """Of the code that reads and compares answers, and of the versions of the packages that it calls."""
    return _hash([*map(inspect.getsource, GRADER), *map(version, PACKAGES)])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
