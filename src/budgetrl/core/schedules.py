"""How a coefficient moves over training: one function for alpha, the entropy bonus and the learning rate."""

import math

from budgetrl.core.checks import require

SCHEDULES = ("constant", "linear", "cosine")


def anneal(kind: str, start: float, end: float, progress: float, end_at: float = 1.0) -> float:
    """The coefficient at `progress` (0 at the first step, 1 at the last).

    `linear` and `cosine` (half a period, so flat at both ends) go from `start` at 0 to `end` at
    `end_at` and hold it from there on; `constant` stays at `start`. Raises ValueError for an
    unknown kind and for shares outside [0, 1].

    >>> [anneal("linear", 1.0, 0.2, p, end_at=0.5) for p in (0.0, 0.25, 0.5, 1.0)]
    [1.0, 0.6, 0.2, 0.2]
    """
    require(0 <= progress <= 1, "progress", f"{progress} is not a share from 0 to 1")
    require(0 <= end_at <= 1, "end_at", f"{end_at} is not a share from 0 to 1")
    done = 1.0 if progress >= end_at else progress / end_at
    match kind:
        case "constant":
            return start
        case "linear":
            fallen = done
        case "cosine":
            fallen = (1 - math.cos(math.pi * done)) / 2
        case _:
            raise ValueError(f"no schedule {kind!r}; there are {', '.join(SCHEDULES)}")
    # Exact at both ends, unlike start + fallen * (end - start): with alpha at 1.0 - 0.9 instead of 0.1, a
    # length on the very edge of the reward's window would fall outside.
    return (1 - fallen) * start + fallen * end


def progress_at(step: int, steps: int) -> float:
    """How far training is at one of its steps, counted from 0: from 0 at the first to 1 at the last.

    >>> [progress_at(step, 3) for step in range(3)]
    [0.0, 0.5, 1.0]
    """
    return step / max(1, steps - 1)


def is_due(step: int, every: int, steps: int) -> bool:
    """Whether what is done every so many steps, and at the end, is done after `step`, counted from 1. 0: at the end.

    >>> [is_due(step, 2, 5) for step in range(1, 6)]
    [False, True, False, True, True]
    """
    return step == steps or (every > 0 and step % every == 0)
