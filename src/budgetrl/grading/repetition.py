"""How much a text repeats itself."""

from collections.abc import Sequence


def repetition(ids: Sequence[int], n: int | None) -> float:
    """The share of n-grams of a text that stood there before: 1 - distinct / all; 0 for fewer than n tokens.

    With n = None nothing is measured, and the share is 0.

    >>> repetition([1, 2, 1, 2, 1], 2)
    0.5
    """
    if n is None:
        return 0.0
    ngrams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
