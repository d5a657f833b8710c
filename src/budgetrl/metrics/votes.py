"""What k of a problem's n samples come to: pass@k and maj@k, averaged over all choices of k."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

from budgetrl.core.records import Outcome


def reported_ks(most: int) -> list[int]:
    """The k that are reported where every problem has `most` samples or more: 2, 4, 8, ... and `most`.

    >>> reported_ks(6), reported_ks(1)
    ([2, 4, 6], [])
    """
    found: list[int] = []
    size = 2
    while size < most:
        found.append(size)
        size *= 2
    if most > 1:
        found.append(most)
    return found


def pass_at(k: int, group: Sequence[Outcome]) -> float:
    """The chance that at least one of k samples is right: 1 - C(n - c, k) / C(n, k) with c of n right.

    Unbiased for independent samples (Chen et al., arXiv 2107.03374).

    >>> pass_at(2, [Outcome(True, correct, length=9) for correct in (True, False, False, False)])
    0.5
    """
    wrong = sum(not outcome.correct for outcome in group)
    return 1 - math.comb(wrong, k) / math.comb(len(group), k)


def majority_at(k: int, group: Sequence[Outcome]) -> float:
    """The chance that the most frequent answer of k samples is right, ties broken by lot (ours, exact).

    Answers are the same if they are written the same; a response without an answer has no vote. Where
    nobody votes the result is wrong.

    >>> group = [Outcome(True, answer == "5", length=9, given_answer=answer) for answer in ("5", "5", "6", "6", None)]
    >>> majority_at(5, group), majority_at(4, group)
    (0.5, 0.5)
    """
    votes = Counter(outcome.given_answer for outcome in group if outcome.given_answer is not None)
    rights = Counter(outcome.given_answer for outcome in group if outcome.correct)
    abstentions = len(group) - votes.total()
    won = Fraction(0)
    for answer, ours in votes.items():
        if not rights[answer]:
            continue
        others = [count for other, count in votes.items() if other != answer]
        # The same answer may be graded right in one response and wrong in another: a win then counts in part.
        won += Fraction(rights[answer], ours) * _ways_to_win(k, ours, others, abstentions)
    return float(won / math.comb(len(group), k))


def _ways_to_win(k: int, ours: int, others: Iterable[int], abstentions: int) -> Fraction:
    """How many choices of k samples an answer wins that `ours` of them give; a tie of t counts 1 / t."""
    won = Fraction(0)
    for votes in range(1, min(k, ours) + 1):
        # It has `votes` of the k; the rest are chosen so that no other answer has more.
        chances = Fraction(0)
        for ties, ways in _choices(k - votes, votes, others, abstentions).items():
            chances += Fraction(ways, ties + 1)  # the lot decides between it and the answers that tie with it
        won += math.comb(ours, votes) * chances
    return won


def _choices(left: int, most: int, others: Iterable[int], abstentions: int) -> dict[int, int]:
    """Ways to choose `left` samples with no other answer above `most` votes, by the answers that reach it."""
    # Answer by answer: to (samples chosen so far, answers among them that have `most` votes), the ways to get there.
    ways = {(0, 0): 1}
    for count in others:
        longer: dict[tuple[int, int], int] = defaultdict(int)
        for (chosen, ties), number in ways.items():
            for votes in range(min(count, most, left - chosen) + 1):
                longer[chosen + votes, ties + (votes == most)] += number * math.comb(count, votes)
        ways = longer
    # What is still to be chosen comes from the responses without a vote.
    by_ties: dict[int, int] = defaultdict(int)
    for (chosen, ties), number in ways.items():
        by_ties[ties] += number * math.comb(abstentions, left - chosen)
    return by_ties
