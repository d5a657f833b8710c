"""What a set of responses comes to: accuracy, lengths, budgets kept, and how sure we are of each.

`statistics` says how the errors come about. A metric that has no value, such as the budget of responses
without one, is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from budgetrl.core.records import Outcome
from budgetrl.metrics.statistics import (
    Estimate,
    RankPairs,
    difference,
    flat,
    intervals,
    mean_of_problems,
    ratio,
    reduction,
    slope,
    spread,
)
from budgetrl.metrics.votes import majority_at, pass_at, sizes

Groups = Sequence[Sequence[Outcome]]
"""The samples of one problem, for each problem."""

MATCH_PERCENTS = (50, 25, 10)
"""`match_50` is the share of all responses with |l - b| <= 50 % of b, and so on."""

_BY_LEVEL = ("accuracy", "length", "budget", "budget_use")
_RHOS = {"budget_level_rho": ("budget", "level"), "length_budget_rho": ("length", "budget")}


def summarize(groups: Groups) -> dict[str, float]:
    """The metrics of an evaluation, each with its standard error under `<key>_se`.

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
    >>> summary = summarize([[right, right], [right, wrong]])
    >>> summary["accuracy"], summary["accuracy_se"], summary["match_25"], summary["length"]
    (0.75, 0.25, 0.75, 102.5)
    >>> summary["pass_at_2"], round(summary["tokens_per_correct"], 1), round(summary["tokens_beyond_budget"], 3)
    (1.0, 136.7, 0.098)
    """
    _require_responses(groups)
    estimates = {**_logged(groups), **_of_k_samples(groups), **_calibration(groups), **_price(groups)}
    for level, members in sorted(_by_level(groups).items()):
        at_level = {**_means(members), **_calibration(members)}
        estimates |= {f"level_{level}/{key}": at_level[key] for key in _BY_LEVEL if key in at_level}
    return flat(estimates)


def batch_metrics(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """The metrics of a training batch: shares, means and rank correlations of `summarize`, without errors."""
    groups = [list(outcomes)]
    _require_responses(groups)
    values = {key: estimate.value for key, estimate in _logged(groups).items()}
    return {key: value for key, value in values.items() if value is not None}


def compare(initial: Groups, trained: Groups) -> dict[str, float]:
    """What training changed, on the same problems in the same order; ValueError if they are not.

    `compression` is 1 - mean length trained / mean length initial; `accuracy_change`, `length_change` and
    `tokens_per_correct_change` are differences, trained - initial. Their errors (`<key>_se`) are paired: a problem's
    two results vary together. `<key>_low` and `<key>_high` are the ends of the 95 % confidence interval, by
    Student's t over problems; of the compression, by Fieller's theorem.

    >>> before = [[Outcome(True, True, length=100)], [Outcome(True, True, length=300)]]
    >>> after = [[Outcome(True, True, length=40)], [Outcome(True, False, length=60)]]
    >>> change = compare(before, after)
    >>> change["compression"], change["accuracy_change"], change["accuracy_change_se"]
    (0.75, -0.5, 0.5)
    """
    _require_same_problems(initial, trained)
    before, after = ({**_means(groups), **_price(groups)} for groups in (initial, trained))
    both = [key for key in ("accuracy", "length", "tokens_per_correct") if key in before and key in after]
    changes = {f"{key}_change": difference(before[key], after[key]) for key in both}
    if before["length"].value > 0:
        changes["compression"] = reduction(before["length"], after["length"])
    return flat(changes) | intervals(changes)


def _logged(groups: Groups) -> dict[str, Estimate | RankPairs]:
    """What training logs too."""
    return {**_means(groups), **{key: RankPairs.of(*_columns(groups, *fields)) for key, fields in _RHOS.items()}}


def _of_k_samples(groups: Groups) -> dict[str, Estimate | None]:
    """pass@k and maj@k, for as many samples as every problem has. Each problem weighs the same."""
    answered = {problem: group for problem, group in enumerate(groups) if group}
    estimates = {}
    for k in sizes(min(len(group) for group in answered.values())):
        for name, chance in (("pass_at", pass_at), ("maj_at", majority_at)):
            chances = {problem: chance(k, group) for problem, group in answered.items()}
            estimates[f"{name}_{k}"] = mean_of_problems(chances, len(groups))
    return estimates


def _calibration(groups: Groups) -> dict[str, Estimate | None]:
    """How the length used compares with the budget predicted."""
    lengths_N, budgets_N, problems_N = _columns(groups, "length", "budget")
    if not len(budgets_N):
        return {}
    use_N, count = lengths_N / budgets_N, len(groups)
    return {
        "budget_use": ratio(np.bincount(problems_N, use_N, count), np.bincount(problems_N, minlength=count)),
        "budget_use_sd": spread(use_N, problems_N, count),
        "length_budget_slope": slope(budgets_N, lengths_N, problems_N, count),
    }


def _price(groups: Groups) -> dict[str, Estimate]:
    """Tokens for a right answer, and those beyond the budget. A malformed response has its budget in front too."""
    counts = {
        "length": [sum(o.length for o in group) for group in groups],
        "right": [sum(o.correct for o in group) for group in groups],
        "responses": [len(group) for group in groups],
        "beyond": [sum(max(0, o.length - o.budget) for o in group if o.budget) for group in groups],
        "right_beyond": [sum(o.correct and o.length > o.budget for o in group if o.budget) for group in groups],
    }
    total = {key: np.array(values, dtype=float) for key, values in counts.items()}
    problems = int(np.count_nonzero(total["responses"]))
    estimates = {"tokens_per_correct": ratio(total["length"], total["right"], problems)}
    if any(outcome.budget for group in groups for outcome in group):
        estimates["tokens_beyond_budget"] = ratio(total["beyond"], total["length"], problems)
        estimates["accuracy_beyond_budget"] = ratio(total["right_beyond"], total["responses"])
    return {key: estimate for key, estimate in estimates.items() if estimate is not None}


def _columns(groups: Groups, *fields: str) -> tuple[np.ndarray, ...]:
    """[N] of each field of the well-formed responses that have them all, and [N] their problems."""
    rows = [
        (*(getattr(outcome, field) for field in fields), problem)
        for problem, group in enumerate(groups)
        for outcome in group
        if outcome.well_formed
    ]
    columns = np.array([row for row in rows if None not in row], dtype=float).reshape(-1, len(fields) + 1).T
    return (*columns[:-1], columns[-1].astype(int))


def _means(groups: Groups) -> dict[str, Estimate]:
    """The mean of every score, over the responses that have it."""
    budgeted = _has_budgets(groups)
    totals: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(groups)))
    for problem, group in enumerate(groups):
        for outcome in group:
            for key, score in _scores(outcome, budgeted).items():
                totals[key][problem] += score
                counts[key][problem] += 1
    estimates = {key: ratio(totals[key], counts[key]) for key in totals}
    return {key: estimate for key, estimate in estimates.items() if estimate is not None}


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


def _by_level(groups: Groups) -> dict[int, list[Sequence[Outcome]]]:
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
