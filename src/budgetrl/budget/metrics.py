"""What a set of responses comes to: accuracy, lengths, budgets kept, and how sure we are of each.

The samples of one problem are not independent, so every standard error treats the problem as the unit:
problems are drawn, and all of a problem's samples come with it. With the same number of samples for
every problem that is the standard error of the mean over problem means; where the denominators differ
(only some responses have a budget) it is the cluster-robust error of a ratio, by the delta method.

A metric that has no value, such as the budget of responses without one, is left out.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from budgetrl.budget.records import Outcome

Groups = Sequence[Sequence[Outcome]]
"""The samples of one problem, for each problem."""

MATCH_PERCENTS = (50, 25, 10)
"""`match_50` is the share of all responses with |l - b| <= 50 % of b, and so on."""

_BY_LEVEL = ("accuracy", "length", "budget")
_RHOS = {"budget_level_rho": ("budget", "level"), "length_budget_rho": ("length", "budget")}
_BOOTSTRAP_DRAWS = 200  # puts the error of the standard error itself at 1 / sqrt(400) = 5 %


def summarise(groups: Groups) -> dict[str, float]:
    """The metrics of an evaluation, each with its standard error under `<key>_se`.

    `accuracy`, `format`, `truncated` and `match_<percent>` are shares of all responses (a malformed one
    is a miss), `length` is the mean over all of them in tokens, `budget` the mean over well-formed ones,
    `thinking_length` over those that have one. `budget_level_rho` and `length_budget_rho` are Spearman's
    rank correlations over well-formed responses; their errors come from a bootstrap over problems with a
    fixed seed. `level_<k>/accuracy`, `/length` and `/budget` are the same for the problems of one level.
    An error is left out where a single problem is all there is. ValueError if there is no response.

    >>> right = Outcome(well_formed=True, correct=True, length=90, budget=100)
    >>> wrong = Outcome(well_formed=True, correct=False, length=140, budget=100)
    >>> summary = summarise([[right, right], [right, wrong]])
    >>> summary["accuracy"], summary["accuracy_se"], summary["match_25"], summary["length"]
    (0.75, 0.25, 0.75, 102.5)
    """
    _require_responses(groups)
    estimates = _estimates(groups)
    for level, members in sorted(_by_level(groups).items()):
        at_level = _means(members)
        estimates |= {f"level_{level}/{key}": at_level[key] for key in _BY_LEVEL if key in at_level}
    return _flat(estimates)


def batch_metrics(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """The metrics of a training batch: the names of `summarise`, without levels and standard errors."""
    groups = [list(outcomes)]
    _require_responses(groups)
    values = {key: estimate.value for key, estimate in _estimates(groups).items()}
    return {key: value for key, value in values.items() if value is not None}


def compare(initial: Groups, trained: Groups) -> dict[str, float]:
    """What training changed, on the same problems in the same order; ValueError if they are not.

    `compression` is 1 - mean length trained / mean length initial, `accuracy_change` the difference of
    the accuracies. Their errors (`<key>_se`) are paired: a problem's two results vary together.

    >>> before = [[Outcome(True, True, length=100)], [Outcome(True, True, length=300)]]
    >>> after = [[Outcome(True, True, length=40)], [Outcome(True, False, length=60)]]
    >>> change = compare(before, after)
    >>> change["compression"], change["accuracy_change"], change["accuracy_change_se"]
    (0.75, -0.5, 0.5)
    """
    _require_same_problems(initial, trained)
    before, after = _means(initial), _means(trained)
    changes = {"accuracy_change": _difference(before["accuracy"], after["accuracy"])}
    if before["length"].value > 0:
        changes["compression"] = _compression(before["length"], after["length"])
    return _flat(changes)


@dataclass(frozen=True)
class _Estimate:
    """A statistic, and what each problem contributes to its error (the influence function)."""

    value: float
    influence: np.ndarray
    """[P]. Sums to 0 over problems; 0 for a problem with no response that counts."""
    problems: int
    """Problems with a response that counts."""

    def error(self) -> float | None:
        """The standard error, or None if fewer than two problems count."""
        if self.problems < 2:
            return None
        return math.sqrt(self.problems / (self.problems - 1) * float(self.influence @ self.influence))


def _estimates(groups: Groups) -> dict[str, "_Estimate | _RankPairs"]:
    rank_pairs = {key: _RankPairs.of(groups, *fields) for key, fields in _RHOS.items()}
    return {**_means(groups), **rank_pairs}


def _means(groups: Groups) -> dict[str, _Estimate]:
    """The mean of every score, over the responses that have it."""
    budgeted = _has_budgets(groups)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    for problem, group in enumerate(groups):
        for outcome in group:
            for key, score in _scores(outcome, budgeted).items():
                totals[key][problem] += score
                counts[key][problem] += 1
    return {key: _ratio(totals[key], counts[key]) for key in totals}


def _scores(outcome: Outcome, budgeted: bool) -> dict[str, float]:
    """What one response adds to each mean."""
    scores: dict[str, float] = {
        "accuracy": outcome.correct,
        "format": outcome.well_formed,
        "length": outcome.length,
        "truncated": outcome.truncated,
    }
    if budgeted:
        scores |= {f"match_{percent}": _matches(outcome, percent) for percent in MATCH_PERCENTS}
    if outcome.well_formed and outcome.budget is not None:
        scores["budget"] = outcome.budget
    if outcome.thinking_length is not None:
        scores["thinking_length"] = outcome.thinking_length
    return scores


def _has_budgets(groups: Groups) -> bool:
    """False for a format without budgets. Where nothing is well formed, budgets were asked for and missed."""
    return not any(outcome.well_formed and outcome.budget is None for group in groups for outcome in group)


def _matches(outcome: Outcome, percent: int) -> bool:
    if not outcome.well_formed or outcome.budget is None:
        return False
    # In integers, so that the edge counts as a match without a thought for rounding.
    return 100 * abs(outcome.length - outcome.budget) <= percent * outcome.budget


def _ratio(totals_P: np.ndarray, counts_P: np.ndarray) -> _Estimate:
    value = float(totals_P.sum() / counts_P.sum())
    influence_P = (totals_P - value * counts_P) / counts_P.sum()
    return _Estimate(value, influence_P, int(np.count_nonzero(counts_P)))


def _difference(before: _Estimate, after: _Estimate) -> _Estimate:
    return _Estimate(after.value - before.value, after.influence - before.influence, after.problems)


def _compression(before: _Estimate, after: _Estimate) -> _Estimate:
    kept = after.value / before.value
    influence = (kept * before.influence - after.influence) / before.value
    return _Estimate(1 - kept, influence, after.problems)


def _flat(estimates: Mapping[str, "_Estimate | _RankPairs"]) -> dict[str, float]:
    """Values under their keys and errors under `<key>_se`, where there are any."""
    flat: dict[str, float | None] = {}
    for key, estimate in estimates.items():
        flat[key] = estimate.value
        flat[f"{key}_se"] = None if estimate.value is None else estimate.error()
    return {key: number for key, number in flat.items() if number is not None}


def _by_level(groups: Groups) -> dict[int, list[Sequence[Outcome]]]:
    levels: dict[int, list[Sequence[Outcome]]] = defaultdict(list)
    for group in groups:
        if group and group[0].level is not None:
            levels[group[0].level].append(group)
    return levels


@dataclass(frozen=True)
class _RankPairs:
    """Two fields of N well-formed outcomes, kept as places among their distinct values, for Spearman's rho.

    Weights stand for repeated rows: redrawing problems is then a bincount, and nothing is sorted again.
    """

    places: np.ndarray
    """[2, N]."""
    problems: np.ndarray
    """[N], which problem a row belongs to, numbered without gaps."""

    @staticmethod
    def of(groups: Groups, first: str, second: str) -> "_RankPairs":
        rows = [
            (getattr(outcome, first), getattr(outcome, second), problem)
            for problem, group in enumerate(groups)
            for outcome in group
            if outcome.well_formed
        ]
        columns_3N = np.array([row for row in rows if None not in row]).reshape(-1, 3).T
        places_3N = np.array([np.unique(column, return_inverse=True)[1] for column in columns_3N])
        return _RankPairs(places_3N[:2], places_3N[2])

    @property
    def value(self) -> float | None:
        """Spearman's rho; None where a field is constant: equal ranks correlate with nothing."""
        return self._rho(np.ones(len(self.problems)))

    def error(self) -> float | None:
        """Spread of rho over redrawn problems; None for a single problem or if no two redraws have a rho."""
        count = len(np.unique(self.problems))
        generator = np.random.default_rng(0)
        drawn = (generator.integers(count, size=count) for _ in range(_BOOTSTRAP_DRAWS))
        rhos = [self._rho(np.bincount(draw, minlength=count)[self.problems]) for draw in drawn]
        defined = [rho for rho in rhos if rho is not None]
        return float(np.std(defined, ddof=1)) if count > 1 and len(defined) > 1 else None

    def _rho(self, weights_N: np.ndarray) -> float | None:
        if not weights_N.sum():
            return None
        ranks_2N = np.array([_middle_ranks(places, weights_N) for places in self.places])
        deviations_2N = ranks_2N - np.average(ranks_2N, axis=1, weights=weights_N)[:, None]
        covariance = (weights_N * deviations_2N) @ deviations_2N.T
        scale = math.sqrt(covariance[0, 0] * covariance[1, 1])
        return float(covariance[0, 1] / scale) if scale > 0 else None


def _middle_ranks(places_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """Ranks of rows that each stand `weight` times, ties sharing the middle of theirs (up to a constant)."""
    counts = np.bincount(places_N, weights_N)
    return (np.cumsum(counts) - counts / 2)[places_N]


def _require_responses(groups: Groups) -> None:
    if not any(groups):
        raise ValueError("there are no responses to measure")


def _require_same_problems(initial: Groups, trained: Groups) -> None:
    _require_responses(initial)
    if len(initial) != len(trained):
        raise ValueError(f"{len(initial)} problems before and {len(trained)} after are not the same ones")
    for before, after in zip(initial, trained, strict=True):
        ids = {outcome.problem_id for outcome in (*before, *after)}
        if not before or not after or len(ids) != 1:
            raise ValueError(f"problems {sorted(ids)} were compared with each other, or one has no responses")
