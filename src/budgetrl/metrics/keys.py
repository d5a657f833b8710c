"""What a number is called: typed keys, and the flat text that result.json, metrics.jsonl and CSV files have for them.

A flat key is `<evaluation>/<data set>/<part>/<metric>` with `_se`, `_low` or `_high` behind it for an error or the
ends of an interval; every part of it but the metric may be missing. This module alone puts keys together and takes
them apart.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from budgetrl.metrics.definitions import find, is_metric
from budgetrl.runs.parts import EVALUATIONS

DURING_TRAINING = "eval"
"""The evaluations that a training run makes on its way, in metrics.jsonl."""
REWARD = "reward"
"""The mean reward; `reward/<name>` is one of the parts that a reward is the sum of."""
_EVALUATIONS = (*EVALUATIONS, DURING_TRAINING)


class Aspect(StrEnum):
    """What of an estimate a flat key holds. Its value is how the key ends."""

    VALUE = ""
    ERROR = "_se"
    LOW = "_low"
    HIGH = "_high"


class PartKind(StrEnum):
    """By what an evaluation is divided into parts."""

    LEVEL = "level"
    BUDGET = "budget"
    CUTOFF = "cutoff"


_PART_KINDS = {str(kind) for kind in PartKind}


class Part(NamedTuple):
    """A part of an evaluation: the problems of a level, the answers to a given budget, or those cut off at a length."""

    kind: PartKind
    number: int


@dataclass(frozen=True, slots=True)
class Key:
    """What an estimate is of.

    >>> Key("pass_at", 4, dataset="gsm8k", evaluation="trained").flat()
    'trained/gsm8k/pass_at_4'
    >>> Key("accuracy", part=Part(PartKind.BUDGET, 14), dataset="mini").flat(Aspect.ERROR)
    'mini/budget_14/accuracy_se'
    """

    metric: str
    """A key of `definitions`, or what else a stage writes."""
    k: int | None = None
    """The number of samples of pass@k and maj@k."""
    part: Part | None = None
    """None for all of the data set."""
    dataset: str = ""
    """Empty where there is one only, and results do not name it."""
    evaluation: str = ""
    """Which of a pipeline's evaluations, or `DURING_TRAINING`; empty where a run is one evaluation."""

    def __post_init__(self) -> None:
        if self.evaluation and not self.dataset:
            raise ValueError(f"{self.metric} of the evaluation {self.evaluation} is of no data set")

    def flat(self, aspect: Aspect = Aspect.VALUE) -> str:
        """The text for it."""
        metric = self.metric if self.k is None else f"{self.metric}_{self.k}"
        part = "" if self.part is None else f"{self.part.kind}_{self.part.number}"
        above = [segment for segment in (self.evaluation, self.dataset, part) if segment]
        return "/".join([*above, f"{metric}{aspect}"])


@lru_cache(maxsize=100_000)  # every step of a training run has the same keys
def parse(text: str) -> tuple[Key, Aspect]:
    """The inverse of `Key.flat`, for data sets with a name that `is_unambiguous`.

    A number that is no metric of an evaluation, such as the loss, keeps its whole text as its metric.

    >>> parse("trained/gsm8k/level_3/length_se")
    (Key(metric='length', k=None, part=Part(kind=<PartKind.LEVEL: 'level'>, number=3), dataset='gsm8k', \
evaluation='trained'), <Aspect.ERROR: '_se'>)
    >>> parse("reward/preciseness")[0].metric, parse("pass_at_8")[0]
    ('reward/preciseness', Key(metric='pass_at', k=8, part=None, dataset='', evaluation=''))
    """
    other = Key(text), Aspect.VALUE
    if is_reward(text):
        return other
    segments = text.split("/")
    for size in (2, 1):  # verify/unparsed has two
        found = _parse_metric("/".join(segments[-size:]))
        if found is not None:
            metric, k, aspect = found
            key = _parse_place(metric, k, segments[:-size])
            # A key that was written by hand, such as /accuracy, may have no typed form.
            return (key, aspect) if key.flat(aspect) == text else other
    return other


def is_unambiguous(dataset: str) -> bool:
    """Whether a data set of this name can be told from the other parts of a key.

    >>> is_unambiguous("math/500"), is_unambiguous("math/level_3"), is_unambiguous("trained/mini")
    (True, False, False)
    """
    key = Key("accuracy", dataset=dataset)
    return parse(key.flat()) == (key, Aspect.VALUE)


def is_reward(text: str) -> bool:
    """Whether this is the key of a reward or of one of its parts."""
    return text.partition("/")[0] == REWARD


def reward_part(name: str) -> str:
    """The key of a part of a reward."""
    return f"{REWARD}/{name}"


def _parse_metric(text: str) -> tuple[str, int | None, Aspect] | None:
    """Metric, k and aspect of the end of a key; None if it is no metric."""
    for aspect in Aspect:
        if not text.endswith(aspect):
            continue
        name = text.removesuffix(aspect)
        if is_metric(name) and not find(name).per_k:
            return name, None, aspect
        stem, _, digits = name.rpartition("_")
        k = _whole(digits)
        if k is not None and is_metric(stem) and find(stem).per_k:
            return stem, k, aspect
    return None


def _parse_place(metric: str, k: int | None, segments: list[str]) -> Key:
    """A key from its metric and what stands above that."""
    part = _parse_part(segments[-1]) if segments else None
    above = segments if part is None else segments[:-1]
    below = "/".join(above[1:])
    if below and above[0] in _EVALUATIONS:
        return Key(metric, k, part, dataset=below, evaluation=above[0])
    return Key(metric, k, part, dataset="/".join(above))


def _parse_part(segment: str) -> Part | None:
    """The part that a segment such as `level_3` names; None if it names none."""
    kind, _, digits = segment.rpartition("_")
    number = _whole(digits)
    if number is None or kind not in _PART_KINDS:
        return None
    return Part(PartKind(kind), number)


def _whole(digits: str) -> int | None:
    """A whole number as we write it: without a zero in front."""
    bare = digits.removeprefix("-")
    if not (bare.isascii() and bare.isdecimal()):
        return None
    number = int(digits)
    return number if str(number) == digits else None
