"""Schedules over training. One function serves alpha, the entropy bonus and the learning rate."""

import math

from budgetrl.core.checks import require

SCHEDULES = ("constant", "linear", "cosine")


def anneal(kind: str, start: float, end: float, progress: float, end_at: float = 1.0) -> float:
    """Return the scheduled value at `progress` (0 at the first step, 1 at the last).

    `linear` and `cosine` go from `start` at 0 to `end` at `end_at`, and stay at `end` from there on. `cosine` is half
    a period, so it is flat at both ends. `constant` stays at `start`.

    >>> [anneal("linear", 1.0, 0.2, p, end_at=0.5) for p in (0.0, 0.25, 0.5, 1.0)]
    [1.0, 0.6, 0.2, 0.2]

    Raises:
        ValueError: `kind` is unknown, or `progress` or `end_at` is outside [0, 1].
    """
    require(0 <= progress <= 1, "progress", f"{progress} is not a number from 0 to 1")
    require(0 <= end_at <= 1, "end_at", f"{end_at} is not a number from 0 to 1")
    done = 1.0 if progress >= end_at else progress / end_at  # the comparison also avoids dividing by end_at = 0
    match kind:
        case "constant":
            return start
        case "linear":
            weight_of_end = done
        case "cosine":
            weight_of_end = (1 - math.cos(math.pi * done)) / 2
        case _:
            raise ValueError(f"no schedule {kind!r}; there are {', '.join(SCHEDULES)}")
    # This form is exact at both ends; start + weight * (end - start) is not. With alpha at 1.0 - 0.9 instead of 0.1, a
    # length exactly on the edge of the reward's window would fall outside.
    return (1 - weight_of_end) * start + weight_of_end * end


def progress_at(step: int, steps: int) -> float:
    """Return the progress of training at a step, counted from 0: from 0 at the first step to 1 at the last.

    >>> [progress_at(step, 3) for step in range(3)]
    [0.0, 0.5, 1.0]
    """
    return step / max(1, steps - 1)


def is_due(step: int, every: int, steps: int) -> bool:
    """Return whether something done every `every` steps, and after the last, is due after `step` (counted from 1).

    With `every` 0 it is due after the last step only.

    >>> [is_due(step, 2, 5) for step in range(1, 6)]
    [False, True, False, True, True]
    """
    return step == steps or (every > 0 and step % every == 0)
