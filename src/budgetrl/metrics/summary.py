"""Compute the metrics of an evaluation, of a training batch, and of a comparison of two models.

See `statistics` for the standard errors. Metrics without a value, such as `budget` in a format without budgets, are
omitted. In variable names, P is the number of problems and N the number of responses.
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
"""For each problem, the outcomes of its samples."""

MATCH_PERCENTS = (50, 25, 10)
"""`match_50` is the share of all responses with |l - b| <= 50 % of b, and so on."""

_CHANGES = ("accuracy", "length", "tokens_per_correct")
"""Metrics whose difference `compare` reports, as `<metric>_change`."""
_BY_LEVEL = ("accuracy", "length", "budget", "budget_use")
"""Metrics that are also reported for each level."""
# Rank correlations: metric -> the two fields of an outcome.
_RHOS = {"budget_level_rho": ("budget", "level"), "length_budget_rho": ("length", "budget")}


def summarize(groups: Groups) -> Results:
    """Return the metrics of an evaluation, each with its standard error.

    - Shares of all responses: `accuracy`, `format`, `truncated`, `match_<percent>`. A malformed response never matches.
    - Means in tokens: `length` over all responses, `budget` over well-formed ones, `thinking_length` over those with a
      `<think>` block.
    - Cost in tokens, if known: `tokens_spent` (sampled, forced and discarded), `tokens_read` (computed again).
    - Spearman's rank correlations over well-formed responses: `budget_level_rho`, `length_budget_rho`. Their errors are
      from a bootstrap over problems with a fixed seed.
    - With k samples per problem: `pass_at_<k>`, `maj_at_<k>`.
    - Cost: `tokens_per_correct` is the number of all tokens divided by the number of correct responses.
    - Calibration over well-formed responses: `budget_use` is the mean of l / b, `budget_use_sd` its standard deviation,
      `length_budget_slope` the slope of the regression of l on b.
    - What stopping at the budget would change: `tokens_beyond_budget` is the share of all tokens that come after the
      budget, `accuracy_beyond_budget` the share of all responses that are correct but longer than their budget.
    - By level: `level_<k>/accuracy`, `/length`, `/budget` and `/budget_use`.

    With a single problem there are no standard errors.

    Raises:
        ValueError: if there are no responses.

    >>> right = Outcome(well_formed=True, correct=True, length=90, budget=100)
    >>> wrong = Outcome(well_formed=True, correct=False, length=140, budget=100)
    >>> summary = summarize([[right, right], [right, wrong]]).flat()
    >>> summary["accuracy"], summary["accuracy_se"], summary["match_25"], summary["length"]
    (0.75, 0.25, 0.75, 102.5)
    >>> summary["pass_at_2"], round(summary["tokens_per_correct"], 1), round(summary["tokens_beyond_budget"], 3)
    (1.0, 136.7, 0.098)
    """
    _require_responses(groups)
    statistics = {**_means(groups), **_rank_correlations(groups), **_pass_and_majority(groups)}
    statistics |= {**_calibration(groups), **_token_costs(groups)}
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
    """Return the shares, means and rank correlations of `summarize` for a training batch, without errors."""
    # Without errors, it does not matter which response belongs to which problem.
    groups = [list(outcomes)]
    _require_responses(groups)
    values: dict[Key, Estimate] = {}
    for key, statistic in {**_means(groups), **_rank_correlations(groups)}.items():
        if (value := statistic.value) is not None:
            values[key] = Estimate(value)
    return Results(values)


def compare(initial: Groups, trained: Groups) -> Results:
    """Return what training changed, given responses to the same problems in the same order.

    `compression` is 1 - (mean length trained) / (mean length initial). `accuracy_change`, `length_change` and
    `tokens_per_correct_change` are differences, trained - initial. Standard errors are paired by problem. The 95 %
    confidence intervals are by Student's t over problems, and by Fieller's theorem for `compression`.

    Raises:
        ValueError: if the problems are not the same, or one has no responses.

    >>> before = [[Outcome(True, True, length=100)], [Outcome(True, True, length=300)]]
    >>> after = [[Outcome(True, True, length=40)], [Outcome(True, False, length=60)]]
    >>> change = compare(before, after).flat()
    >>> change["compression"], change["accuracy_change"], change["accuracy_change_se"]
    (0.75, -0.5, 0.5)
    """
    _require_same_problems(initial, trained)
    before = {**_means(initial), **_token_costs(initial)}
    after = {**_means(trained), **_token_costs(trained)}
    changes: dict[Key, Statistic] = {}
    for metric in _CHANGES:
        key = Key(metric)
        if key in before and key in after:
            changes[Key(f"{metric}_change")] = difference(before[key], after[key])
    length = Key("length")
    if before[length].value > 0:  # with a mean length of 0 there is nothing to compress
        changes[Key("compression")] = reduction(before[length], after[length])
    return Results({key: change.estimate(with_interval=True) for key, change in changes.items()})


def _rank_correlations(groups: Groups) -> dict[Key, RankPairs]:
    """Spearman's correlations, over the well-formed responses that have both fields."""
    correlations: dict[Key, RankPairs] = {}
    for metric, (x, y) in _RHOS.items():
        x_N, y_N, problems_N = _columns(groups, x, y)
        correlations[Key(metric)] = RankPairs.of(x_N, y_N, problems_N)
    return correlations


def _pass_and_majority(groups: Groups) -> dict[Key, Statistic]:
    """pass@k and maj@k, for k up to the number of samples that every problem has. All problems have the same weight."""
    fewest = min(len(group) for group in groups if group)
    statistics: dict[Key, Statistic | None] = {}
    for k in reported_ks(fewest):
        for metric, probability in (("pass_at", pass_at), ("maj_at", majority_at)):
            by_problem: dict[int, float] = {}
            for problem, group in enumerate(groups):
                if group:
                    by_problem[problem] = probability(k, group)
            statistics[Key(metric, k)] = mean_of_problems(by_problem, len(groups))
    return _without_none(statistics)


def _calibration(groups: Groups) -> dict[Key, Statistic]:
    """How the length l compares with the budget b, over well-formed responses."""
    lengths_N, budgets_N, problems_N = _columns(groups, "length", "budget")
    if not len(budgets_N):
        return {}
    count = len(groups)
    use_N = lengths_N / budgets_N
    use_P = np.bincount(problems_N, use_N, count)  # the sum of l / b over each problem's responses
    responses_P = np.bincount(problems_N, minlength=count)
    return _without_none(
        {
            Key("budget_use"): ratio(use_P, responses_P),
            Key("budget_use_sd"): standard_deviation(use_N, problems_N, count),
            Key("length_budget_slope"): slope(budgets_N, lengths_N, problems_N, count),
        }
    )


def _token_costs(groups: Groups) -> dict[Key, Statistic]:
    """Tokens per correct response, and tokens and accuracy beyond the budget."""
    length_P, correct_P, responses_P, beyond_P, correct_beyond_P = np.zeros((5, len(groups)))
    has_budget = False
    for problem, group in enumerate(groups):
        for outcome in group:
            length_P[problem] += outcome.length
            correct_P[problem] += outcome.correct
            responses_P[problem] += 1
            if outcome.budget:  # malformed responses may have a budget too, and their tokens count as well
                has_budget = True
                beyond_P[problem] += max(0, outcome.length - outcome.budget)
                correct_beyond_P[problem] += outcome.correct and outcome.length > outcome.budget
    # A problem without correct responses still contributes tokens, so it counts.
    problems = int(np.count_nonzero(responses_P))
    statistics = {Key("tokens_per_correct"): ratio(length_P, correct_P, problems)}
    if has_budget:
        statistics[Key("tokens_beyond_budget")] = ratio(beyond_P, length_P, problems)
        statistics[Key("accuracy_beyond_budget")] = ratio(correct_beyond_P, responses_P)
    return _without_none(statistics)


def _without_none(statistics: Mapping[Key, Statistic | None]) -> dict[Key, Statistic]:
    """The statistics that have a value."""
    return {key: statistic for key, statistic in statistics.items() if statistic is not None}


def _columns(groups: Groups, *fields: str) -> tuple[np.ndarray, ...]:
    """The values of each field, [N], and last the index of the problem, [N].

    Only well-formed responses that have all of the fields are included.
    """
    rows: list[list[float]] = []
    for problem, group in enumerate(groups):
        for outcome in group:
            values = [getattr(outcome, field) for field in fields]
            if outcome.well_formed and None not in values:
                rows.append([*values, problem])
    columns = np.array(rows, dtype=float).reshape(-1, len(fields) + 1).T
    return (*columns[:-1], columns[-1].astype(int))


def _means(groups: Groups) -> dict[Key, Statistic]:
    """The mean of each score over the responses that have it."""
    has_budgets = _has_budgets(groups)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    for problem, group in enumerate(groups):
        for outcome in group:
            for metric, score in _scores(outcome, has_budgets).items():
                totals[metric][problem] += score
                counts[metric][problem] += 1
    return _without_none({Key(metric): ratio(totals[metric], counts[metric]) for metric in totals})


def _scores(outcome: Outcome, has_budgets: bool) -> dict[str, float]:
    """The scores of one response, by metric. Metrics that do not apply to it are missing."""
    scores: dict[str, float] = {
        "accuracy": outcome.correct,
        "format": outcome.well_formed,
        "length": outcome.length,
        "truncated": outcome.truncated,
    }
    if has_budgets:
        for percent in MATCH_PERCENTS:
            scores[f"match_{percent}"] = _matches(outcome, percent)
    if outcome.well_formed and outcome.budget is not None:
        scores["budget"] = outcome.budget
    if outcome.tokens_spent is not None:
        scores["tokens_spent"] = outcome.tokens_spent
        scores["tokens_read"] = outcome.tokens_read
    if outcome.thinking_length is not None:
        scores["thinking_length"] = outcome.thinking_length
    return scores


def _has_budgets(groups: Groups) -> bool:
    """Whether the response format has budgets."""
    # In a format with budgets, every well-formed response has one. If no response is well formed the format is unknown;
    # then True, so that the missing budgets count as no match.
    return not any(outcome.well_formed and outcome.budget is None for outcome in chain(*groups))


def _matches(outcome: Outcome, percent: int) -> bool:
    """Whether |l - b| <= percent / 100 * b. A malformed response never matches."""
    if not outcome.well_formed or outcome.budget is None:
        return False
    # In integers, so that rounding cannot decide about a length exactly on the edge.
    return 100 * abs(outcome.length - outcome.budget) <= percent * outcome.budget


def _by_level(groups: Groups) -> dict[int, list[Sequence[Outcome]]]:
    """The groups of each level. All responses to a problem have its level."""
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
        raise ValueError(
            f"cannot compare {len(initial)} problems before with {len(trained)} after: they must be the same problems"
        )
    for before, after in zip(initial, trained, strict=True):
        ids = {outcome.problem_id for outcome in (*before, *after)}
        if not before or not after or len(ids) != 1:
            raise ValueError(
                f"cannot compare problems {sorted(ids)}: they must be the same problem, with responses before and after"
            )
