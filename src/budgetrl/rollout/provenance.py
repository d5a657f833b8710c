"""What the numbers of an evaluation depend on, as hashes: two numbers can be compared if they agree."""

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from types import ModuleType

from budgetrl.core.records import Problem
from budgetrl.formats import base, budget, difficulty, plain, prompt_budget
from budgetrl.grading import answers, verifier, worker
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.collect import Collector
from budgetrl.rollout.engine import Sampling

PACKAGES = ("math-verify", "latex2sympy2_extended", "sympy")
GRADER: Sequence[ModuleType | Callable] = (
    *(base, plain, budget, prompt_budget, difficulty),
    *(answers, verifier, worker, Collector._outcome),
)
"""What finds an answer in a response, compares it, and decides what the verdict counts for."""
STAND_IN = 100
"""The budget in prompts that ask for one: what each really asks for is drawn, and differs from seed to seed."""

Hashes = dict[str, str]


def hashes_of(problems: Sequence[Problem], collector: Collector, samples: int) -> Hashes:
    """Those of one data set, measured with a collector and so many samples of a problem.

    `problems`: ids, texts and gold answers. `prompt`: what the model is given, which holds template and
    instructions, so that two formats differ; the same whatever budget a prompt asks for or a pass pre-fills.
    `sampling`: temperature, token limit and samples of a problem, not the engine. `measure`: what a token is, and which
    of them count as length. `grader`: see `grader_hash`.
    """
    asked = STAND_IN if collector.fmt.budget_in == "prompt" else None
    return {
        "problems": _hash([[p.id, p.problem, p.answer] for p in problems]),
        "prompt": _hash(collector.prompt_texts(problems, [asked] * len(problems))),
        "sampling": _hash(_drawn(collector.sampling) | {"samples": samples}),
        "measure": measure_hash(collector.codec),
        "grader": grader_hash(),
    }


def measure_hash(codec: TextCodec) -> str:
    """Of `model.length` and the tokenizer's vocabulary, which stays the same in every checkpoint of a model."""
    return _hash([codec.spec.length, sorted(codec.tokenizer.get_vocab().items())])


@cache
def grader_hash() -> str:
    """Of the code that reads and compares answers, and of the versions of the packages that it calls."""
    return _hash([*map(inspect.getsource, GRADER), *map(version, PACKAGES)])


def _drawn(sampling: Sampling) -> dict[str, object]:
    return {key: value for key, value in asdict(sampling).items() if key != "stop_ids"}


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
