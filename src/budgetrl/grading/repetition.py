"""A measure of repetition in a text."""

from collections.abc import Sequence


def repetition(ids: Sequence[int], n: int | None) -> float:
    """Return the share of repeated n-grams: 1 - (distinct n-grams) / (all n-grams).

    Returns 0 for fewer than n tokens, and if n is None (not measured).

    >>> repetition([1, 2, 1, 2, 1], 2)
    0.5
    """
    if n is None:
        return 0.0
    ngrams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
