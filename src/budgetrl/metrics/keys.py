"""Result keys: a typed form for code, and a flat text form for result.json, metrics.jsonl and CSV files.

A flat key is `<evaluation>/<data set>/<part>/<metric>`. Everything but the metric is optional. The suffix `_se` marks
the standard error of a value, `_low` and `_high` the ends of its confidence interval. No other module builds or parses
keys. Examples:

    accuracy                           the accuracy of a run with one data set
    trained/gsm8k/pass_at_4            pass@4 on gsm8k in a pipeline's evaluation of the trained model
    mini/level_3/length_se             the standard error of the mean length on problems of level 3
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from budgetrl.metrics.definitions import find, is_metric
from budgetrl.runs.parts import EVALUATIONS

DURING_TRAINING = "eval"
"""Prefix of the evaluations during training, in metrics.jsonl."""
REWARD = "reward"
"""Key of the mean reward. `reward/<name>` is one component of it."""
_EVALUATIONS = (*EVALUATIONS, DURING_TRAINING)


class Aspect(StrEnum):
    """Which number of an estimate a flat key holds. The value is the suffix of the key."""

    VALUE = ""
    ERROR = "_se"
    LOW = "_low"
    HIGH = "_high"


class PartKind(StrEnum):
    """What the results of an evaluation are broken down by."""

    LEVEL = "level"
    BUDGET = "budget"
    CUTOFF = "cutoff"


_PART_KINDS = {str(kind) for kind in PartKind}


class Part(NamedTuple):
    """A part of an evaluation: the problems of a level, responses with a given budget, or truncated to a length."""

    kind: PartKind
    number: int


@dataclass(frozen=True, slots=True)
class Key:
    """Identifies an estimate.

    >>> Key("pass_at", 4, dataset="gsm8k", evaluation="trained").flat()
    'trained/gsm8k/pass_at_4'
    >>> Key("accuracy", part=Part(PartKind.BUDGET, 14), dataset="mini").flat(Aspect.ERROR)
    'mini/budget_14/accuracy_se'
    """

    metric: str
    """A key of `definitions`, or any other number that a stage writes, such as `loss`."""
    k: int | None = None
    """The number of samples, for pass@k and maj@k only."""
    part: Part | None = None
    """None: the whole data set."""
    dataset: str = ""
    """Empty if the results are about a single data set and do not name it."""
    evaluation: str = ""
    """An evaluation of a pipeline, or `DURING_TRAINING`; empty if the run is a single evaluation."""

    def __post_init__(self) -> None:
        if self.evaluation and not self.dataset:
            raise ValueError(f"{self.metric}: a key with an evaluation ({self.evaluation}) also needs a data set")

    def flat(self, aspect: Aspect = Aspect.VALUE) -> str:
        """Return the flat key."""
        metric = self.metric if self.k is None else f"{self.metric}_{self.k}"
        part = "" if self.part is None else f"{self.part.kind}_{self.part.number}"
        segments = filter(None, (self.evaluation, self.dataset, part))
        return "/".join([*segments, f"{metric}{aspect}"])


@lru_cache(maxsize=100_000)  # every step in metrics.jsonl has the same keys
def parse(text: str) -> tuple[Key, Aspect]:
    """Parse a flat key. The inverse of `Key.flat`, if the data set's name `is_unambiguous`.

    For numbers that are not evaluation metrics, such as `time/rollout`, the whole text becomes the metric.

    >>> parse("trained/gsm8k/level_3/length_se")
    (Key(metric='length', k=None, part=Part(kind=<PartKind.LEVEL: 'level'>, number=3), dataset='gsm8k', \
evaluation='trained'), <Aspect.ERROR: '_se'>)
    >>> parse("reward/preciseness")[0].metric, parse("pass_at_8")[0]
    ('reward/preciseness', Key(metric='pass_at', k=8, part=None, dataset='', evaluation=''))
    """
    unparsed = Key(text), Aspect.VALUE
    if is_reward(text):
        return unparsed
    segments = text.split("/")
    for size in (2, 1):  # verify/unparsed has two segments
        found = _parse_metric("/".join(segments[-size:]))
        if found is not None:
            metric, k, aspect = found
            key = _with_prefix(metric, k, segments[:-size])
            # Some texts have no typed form, such as `/accuracy`. Reading and writing must never change a key.
            return (key, aspect) if key.flat(aspect) == text else unparsed
    return unparsed


def is_unambiguous(dataset: str) -> bool:
    """Return whether a data set with this name cannot be mistaken for another part of a key.

    >>> is_unambiguous("math/500"), is_unambiguous("math/level_3"), is_unambiguous("trained/mini")
    (True, False, False)
    """
    key = Key("accuracy", dataset=dataset)
    return parse(key.flat()) == (key, Aspect.VALUE)


def is_reward(text: str) -> bool:
    """Return whether this is the key of the reward or of one of its components."""
    return text.partition("/")[0] == REWARD


def reward_part(name: str) -> str:
    """Return the key of a component of the reward."""
    return f"{REWARD}/{name}"


def _parse_metric(text: str) -> tuple[str, int | None, Aspect] | None:
    """Metric, k and aspect from the end of a key; None if it is not a metric."""
    # VALUE, with its empty suffix, comes first: a metric whose own name ended in `_low` would be found as it is.
    for aspect in Aspect:
        if not text.endswith(aspect):
            continue
        name = text.removesuffix(aspect)
        if is_metric(name) and not find(name).per_k:
            return name, None, aspect
        stem, _, digits = name.rpartition("_")  # pass_at_4 -> pass_at, 4
        k = _integer(digits)
        if k is not None and is_metric(stem) and find(stem).per_k:
            return stem, k, aspect
    return None


def _with_prefix(metric: str, k: int | None, segments: list[str]) -> Key:
    """The key of a metric, given the segments before it: evaluation, data set and part."""
    part = _parse_part(segments[-1]) if segments else None
    if part is not None:
        segments = segments[:-1]
    # Names of data sets may contain slashes. An evaluation is always followed by a data set.
    rest = "/".join(segments[1:])
    if rest and segments[0] in _EVALUATIONS:
        return Key(metric, k, part, dataset=rest, evaluation=segments[0])
    return Key(metric, k, part, dataset="/".join(segments))


def _parse_part(segment: str) -> Part | None:
    """The part for a segment such as `level_3`; None if the segment is not a part."""
    kind, _, digits = segment.rpartition("_")
    number = _integer(digits)
    if number is None or kind not in _PART_KINDS:
        return None
    return Part(PartKind(kind), number)


def _integer(digits: str) -> int | None:
    """The integer, or None for anything that `str(int)` does not produce, such as `03`."""
    bare = digits.removeprefix("-")
    if not (bare.isascii() and bare.isdecimal()):
        return None
    number = int(digits)
    return number if str(number) == digits else None
