"""How much a text repeats itself."""

from collections.abc import Sequence


def repetition(ids: Sequence[int], n: int) -> float:
    """The share of n-grams of a text that stood there before: 1 - distinct / all; 0 for fewer than n tokens.

    >>> repetition([1, 2, 1, 2, 1], 2)
    0.5
    """
    ngrams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
