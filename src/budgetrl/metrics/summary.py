"""What a set of responses comes to: accuracy, lengths, budgets kept, and how sure we are of each.

`statistics` says how the errors come about. A metric that has no value, such as the budget of responses
without one, is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from budgetrl.core.records import Outcome
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Key, Part, PartKind
from budgetrl.metrics.results import Results
from budgetrl.metrics.statistics import (
    RankPairs,
    Statistic,
    difference,
    mean_of_problems,
    ratio,
    reduction,
    slope,
    standard_deviation,
)
from budgetrl.metrics.votes import majority_at, pass_at, reported_ks

Groups = Sequence[Sequence[Outcome]]
"""The samples of one problem, for each problem."""

MATCH_PERCENTS = (50, 25, 10)
"""`match_50` is the share of all responses with |l - b| <= 50 % of b, and so on."""

_CHANGES = ("accuracy", "length", "tokens_per_correct")
"""Metrics whose difference `compare` states."""
_BY_LEVEL = ("accuracy", "length", "budget", "budget_use")
_RHOS = {"budget_level_rho": ("budget", "level"), "length_budget_rho": ("length", "budget")}


def summarize(groups: Groups) -> Results:
    """The metrics of an evaluation, each with its standard error.

    Shares of all responses, a malformed one being a miss: `accuracy`, `format`, `truncated`, `match_<percent>`.
    Means in tokens: `length` over all, `budget` over well-formed ones, `thinking_length` over those that think.
    Spearman's rank correlations over well-formed responses, their errors from a bootstrap over problems with a
    fixed seed: `budget_level_rho`, `length_budget_rho`.

    Of k samples: `pass_at_<k>`, `maj_at_<k>`. Price: `tokens_per_correct`, all tokens over the number of right
    responses. Calibration over well-formed responses: `budget_use` is the mean of l / b, `budget_use_sd` its
    standard deviation, `length_budget_slope` that of the line of l on b. Had one stopped at the budget:
    `tokens_beyond_budget` is the share of all tokens that would not have been written, `accuracy_beyond_budget`
    the share of all responses that are right but longer than their budget.

    `level_<k>/accuracy`, `/length`, `/budget` and `/budget_use` are the same for the problems of one level.
    An error is left out where a single problem is all there is. ValueError if there is no response.

    >>> right = Outcome(well_formed=True, correct=True, length=90, budget=100)
    >>> wrong = Outcome(well_formed=True, correct=False, length=140, budget=100)
    >>> summary = summarize([[right, right], [right, wrong]]).flat()
    >>> summary["accuracy"], summary["accuracy_se"], summary["match_25"], summary["length"]
    (0.75, 0.25, 0.75, 102.5)
    >>> summary["pass_at_2"], round(summary["tokens_per_correct"], 1), round(summary["tokens_beyond_budget"], 3)
    (1.0, 136.7, 0.098)
    """
    _require_responses(groups)
    statistics = {**_means(groups), **_rank_correlations(groups), **_of_k_samples(groups)}
    statistics |= {**_calibration(groups), **_price(groups)}
    for level, members in sorted(_by_level(groups).items()):
        at_level = {**_means(members), **_calibration(members)}
        for metric in _BY_LEVEL:
            if (key := Key(metric)) in at_level:
                statistics[replace(key, part=Part(PartKind.LEVEL, level))] = at_level[key]
    estimates: dict[Key, Estimate] = {}
    for key, statistic in statistics.items():
        if (estimate := statistic.estimate()) is not None:
            estimates[key] = estimate
    return Results(estimates)


def batch_metrics(outcomes: Iterable[Outcome]) -> Results:
    """The metrics of a training batch: shares, means and rank correlations of `summarize`, without errors."""
    groups = [list(outcomes)]
    _require_responses(groups)
    values: dict[Key, Estimate] = {}
    for key, statistic in {**_means(groups), **_rank_correlations(groups)}.items():
        if (value := statistic.value) is not None:
            values[key] = Estimate(value)
    return Results(values)


def compare(initial: Groups, trained: Groups) -> Results:
    """What training changed, on the same problems in the same order; ValueError if they are not.

    `compression` is 1 - mean length trained / mean length initial; `accuracy_change`, `length_change` and
    `tokens_per_correct_change` are differences, trained - initial. Their errors are paired: a problem's two results
    vary together. Their 95 % confidence intervals are by Student's t over problems; that of the compression is by
    Fieller's theorem.

    >>> before = [[Outcome(True, True, length=100)], [Outcome(True, True, length=300)]]
    >>> after = [[Outcome(True, True, length=40)], [Outcome(True, False, length=60)]]
    >>> change = compare(before, after).flat()
    >>> change["compression"], change["accuracy_change"], change["accuracy_change_se"]
    (0.75, -0.5, 0.5)
    """
    _require_same_problems(initial, trained)
    before = {**_means(initial), **_price(initial)}
    after = {**_means(trained), **_price(trained)}
    changes: dict[Key, Statistic] = {}
    for metric in _CHANGES:
        key = Key(metric)
        if key in before and key in after:
            changes[Key(f"{metric}_change")] = difference(before[key], after[key])
    length = Key("length")
    if before[length].value > 0:
        changes[Key("compression")] = reduction(before[length], after[length])
    return Results({key: change.estimate(with_interval=True) for key, change in changes.items()})


def _rank_correlations(groups: Groups) -> dict[Key, RankPairs]:
    """Spearman's correlations of two fields, over the well-formed responses that have both."""
    correlations: dict[Key, RankPairs] = {}
    for metric, (x, y) in _RHOS.items():
        x_N, y_N, problems_N = _columns(groups, x, y)
        correlations[Key(metric)] = RankPairs.of(x_N, y_N, problems_N)
    return correlations


def _of_k_samples(groups: Groups) -> dict[Key, Statistic]:
    """pass@k and maj@k, for as many samples as every problem has. Each problem weighs the same."""
    answered = {problem: group for problem, group in enumerate(groups) if group}
    fewest = min(len(group) for group in answered.values())
    statistics: dict[Key, Statistic | None] = {}
    for k in reported_ks(fewest):
        for metric, chance in (("pass_at", pass_at), ("maj_at", majority_at)):
            chances = {problem: chance(k, group) for problem, group in answered.items()}
            statistics[Key(metric, k)] = mean_of_problems(chances, len(groups))
    return _known(statistics)


def _calibration(groups: Groups) -> dict[Key, Statistic]:
    """How the length used compares with the budget predicted."""
    lengths_N, budgets_N, problems_N = _columns(groups, "length", "budget")
    if not len(budgets_N):
        return {}
    count = len(groups)
    use_N = lengths_N / budgets_N
    use_P = np.bincount(problems_N, use_N, count)
    responses_P = np.bincount(problems_N, minlength=count)
    return _known(
        {
            Key("budget_use"): ratio(use_P, responses_P),
            Key("budget_use_sd"): standard_deviation(use_N, problems_N, count),
            Key("length_budget_slope"): slope(budgets_N, lengths_N, problems_N, count),
        }
    )


def _price(groups: Groups) -> dict[Key, Statistic]:
    """Tokens for a right answer, and those beyond the budget. A malformed response has its budget in front too."""
    length_P, right_P, responses_P, beyond_P, right_beyond_P = np.zeros((5, len(groups)))
    for problem, group in enumerate(groups):
        for outcome in group:
            length_P[problem] += outcome.length
            right_P[problem] += outcome.correct
            responses_P[problem] += 1
            if outcome.budget:
                beyond_P[problem] += max(0, outcome.length - outcome.budget)
                right_beyond_P[problem] += outcome.correct and outcome.length > outcome.budget
    # A problem without a right response has tokens all the same, so that it counts.
    problems = int(np.count_nonzero(responses_P))
    statistics = {Key("tokens_per_correct"): ratio(length_P, right_P, problems)}
    if any(outcome.budget for outcome in chain(*groups)):
        statistics[Key("tokens_beyond_budget")] = ratio(beyond_P, length_P, problems)
        statistics[Key("accuracy_beyond_budget")] = ratio(right_beyond_P, responses_P)
    return _known(statistics)


def _known(statistics: Mapping[Key, Statistic | None]) -> dict[Key, Statistic]:
    """The statistics that have a value."""
    return {key: statistic for key, statistic in statistics.items() if statistic is not None}


def _columns(groups: Groups, *fields: str) -> tuple[np.ndarray, ...]:
    """The columns [N] of these fields, over the well-formed responses that have them all, and of their problems."""
    rows: list[list[float]] = []
    for problem, group in enumerate(groups):
        for outcome in group:
            values = [getattr(outcome, field) for field in fields]
            if outcome.well_formed and None not in values:
                rows.append([*values, problem])
    columns = np.array(rows, dtype=float).reshape(-1, len(fields) + 1).T
    return (*columns[:-1], columns[-1].astype(int))


def _means(groups: Groups) -> dict[Key, Statistic]:
    """The mean of every score, over the responses that have it."""
    budgeted = _has_budgets(groups)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    for problem, group in enumerate(groups):
        for outcome in group:
            for metric, score in _scores(outcome, budgeted).items():
                totals[metric][problem] += score
                counts[metric][problem] += 1
    return _known({Key(metric): ratio(totals[metric], counts[metric]) for metric in totals})


def _scores(outcome: Outcome, budgeted: bool) -> dict[str, float]:
    """What one response adds to each mean."""
    scores: dict[str, float] = {
        "accuracy": outcome.correct,
        "format": outcome.well_formed,
        "length": outcome.length,
        "truncated": outcome.truncated,
    }
    if budgeted:
        for percent in MATCH_PERCENTS:
            scores[f"match_{percent}"] = _matches(outcome, percent)
    if outcome.well_formed and outcome.budget is not None:
        scores["budget"] = outcome.budget
    if outcome.thinking_length is not None:
        scores["thinking_length"] = outcome.thinking_length
    return scores


def _has_budgets(groups: Groups) -> bool:
    """False for a format without budgets. Where nothing is well formed, budgets were asked for and missed."""
    return not any(outcome.well_formed and outcome.budget is None for outcome in chain(*groups))


def _matches(outcome: Outcome, percent: int) -> bool:
    """Whether a length is within so many percent of its budget; a malformed response matches nothing."""
    if not outcome.well_formed or outcome.budget is None:
        return False
    # In integers, so that the edge counts as a match without a thought for rounding.
    return 100 * abs(outcome.length - outcome.budget) <= percent * outcome.budget


def _by_level(groups: Groups) -> dict[int, list[Sequence[Outcome]]]:
    """The problems of each level, which all responses to a problem share."""
    levels: dict[int, list[Sequence[Outcome]]] = defaultdict(list)
    for group in groups:
        if group and group[0].level is not None:
            levels[group[0].level].append(group)
    return levels


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
