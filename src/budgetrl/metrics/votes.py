"""pass@k and maj@k of one problem, averaged over all ways to choose k of its n samples."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

from budgetrl.core.records import Outcome


def reported_ks(samples: int) -> list[int]:
    """Return the values of k to report if every problem has at least `samples` samples: 2, 4, 8, ... and `samples`.

    >>> reported_ks(6), reported_ks(1)
    ([2, 4, 6], [])
    """
    ks: list[int] = []
    k = 2
    while k < samples:
        ks.append(k)
        k *= 2
    if samples > 1:
        ks.append(samples)
    return ks


def pass_at(k: int, group: Sequence[Outcome]) -> float:
    """Return the probability that at least one of k samples is correct: 1 - C(n - c, k) / C(n, k), with c of n correct.

    This is the unbiased estimator of Chen et al. (arXiv 2107.03374) for independent samples.

    >>> pass_at(2, [Outcome(True, correct, length=9) for correct in (True, False, False, False)])
    0.5
    """
    wrong = sum(not outcome.correct for outcome in group)
    return 1 - math.comb(wrong, k) / math.comb(len(group), k)


def majority_at(k: int, group: Sequence[Outcome]) -> float:
    """Return the probability that the most frequent answer of k samples is correct, with ties broken at random.

    The result is exact: it counts all choices of k samples (the algorithm is ours). Answers are compared as text. A
    response without an answer does not vote; if none of the k samples votes, the choice counts as wrong.

    >>> group = [Outcome(True, answer == "5", length=9, given_answer=answer) for answer in ("5", "5", "6", "6", None)]
    >>> majority_at(5, group), majority_at(4, group)
    (0.5, 0.5)
    """
    votes: Counter[str] = Counter()
    correct_votes: Counter[str] = Counter()
    for outcome in group:
        if outcome.given_answer is not None:
            votes[outcome.given_answer] += 1
            correct_votes[outcome.given_answer] += outcome.correct
    abstentions = len(group) - votes.total()
    wins = Fraction(0)  # number of choices in which a correct answer wins; fractions because of ties
    for answer, count in votes.items():
        if not correct_votes[answer]:
            continue
        rivals = [n for rival, n in votes.items() if rival != answer]
        # The same answer may be graded correct in one response and wrong in another, for example if one of them is
        # truncated. A win then counts in proportion.
        wins += Fraction(correct_votes[answer], count) * _ways_to_win(k, count, rivals, abstentions)
    return float(wins / math.comb(len(group), k))


def _ways_to_win(k: int, count: int, rivals: Iterable[int], abstentions: int) -> Fraction:
    """Return the number of choices of k samples in which an answer wins. A tie of t answers counts as 1 / t.

    `count` of the n samples give the answer, `rivals` are the counts of the other answers, and `abstentions` samples
    give none.
    """
    wins = Fraction(0)
    for votes in range(1, min(k, count) + 1):
        # The answer gets exactly `votes` of the k; no rival may get more. Of the ways to choose the other k - votes
        # samples, each counts 1 / (t + 1) if t rivals tie with the answer.
        weighted = Fraction(0)
        for ties, ways in _ways_by_ties(k - votes, votes, rivals, abstentions).items():
            weighted += Fraction(ways, ties + 1)
        wins += math.comb(count, votes) * weighted
    return wins


def _ways_by_ties(size: int, max_votes: int, rivals: Iterable[int], abstentions: int) -> dict[int, int]:
    """Return the numbers of ways to choose `size` samples so that no rival gets more than `max_votes` votes.

    They are split by the number of rivals that get exactly `max_votes`, which are the keys.
    """
    # Dynamic programming over the rivals. State: (samples chosen so far, rivals with exactly `max_votes` so far).
    # Value: the number of ways to reach that state.
    ways = {(0, 0): 1}
    for count in rivals:
        extended: dict[tuple[int, int], int] = defaultdict(int)
        for (chosen, ties), number in ways.items():
            for votes in range(min(count, max_votes, size - chosen) + 1):
                extended[chosen + votes, ties + (votes == max_votes)] += number * math.comb(count, votes)
        ways = extended
    # The remaining samples are chosen among the abstentions.
    by_ties: dict[int, int] = defaultdict(int)
    for (chosen, ties), number in ways.items():
        by_ties[ties] += number * math.comb(abstentions, size - chosen)
    return by_ties
