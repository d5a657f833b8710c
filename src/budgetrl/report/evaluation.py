"""Metrics and files of an evaluation, whether its responses were just generated or are regraded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from budgetrl.core.records import Outcome
from budgetrl.grading.provenance import Hashes
from budgetrl.grading.rows import outcomes_by_problem, unprefilled_rows, verdict_from_row, verification_rates
from budgetrl.metrics.keys import Key, Part, PartKind
from budgetrl.metrics.length_control import at_cutoffs, budget_area
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import summarize
from budgetrl.report.against import EarlierEvaluation, changes
from budgetrl.runs.context import Context
from budgetrl.runs.folder import HASHES, Row

TRACKED_COMPLETIONS = 200
"""Maximum number of completions sent to the tracker; completions.jsonl has all of them."""
_BUDGET_METRICS = ("accuracy", "length")
"""Metrics reported for each pre-filled budget."""


class EvaluationSettings(Protocol):
    """The settings of an evaluation that decide which metrics it has."""

    @property
    def budgets(self) -> Sequence[int]: ...
    @property
    def budget_problems(self) -> int | None: ...
    @property
    def cutoffs(self) -> Sequence[int]: ...


def write_evaluation(
    stage: EvaluationSettings,
    rows: Sequence[Row],
    hashes: Mapping[str, Hashes],
    earlier: EarlierEvaluation | None,
    datasets: Iterable[str],
    ctx: Context,
) -> dict[str, float]:
    """Write the files of an evaluation and return its metrics by flat key.

    If there is an earlier evaluation, the metrics include the changes since then.
    """
    ctx.folder.rewrite(ctx.folder.completions, rows)
    ctx.folder.write_json(HASHES, hashes)
    ctx.tracker.log_completions(rows[:TRACKED_COMPLETIONS], step=0)
    results = compute_metrics(stage, rows, datasets)
    if earlier:
        results |= changes(earlier.rows, unprefilled_rows(rows))
    return results.flat()


def compute_metrics(stage: EvaluationSettings, rows: Sequence[Row], datasets: Iterable[str]) -> Results:
    """Return the metrics of all data sets."""
    results = Results()
    for name in datasets:
        # By pre-filled budget; None: the model chose its own. Passes without any row must be there too.
        rows_by_budget: dict[int | None, list[Row]] = {None: []}
        for budget in stage.budgets:
            rows_by_budget[budget] = []
        for row in rows:
            if row["dataset"] == name:
                rows_by_budget[row["prefilled"]].append(row)
        results |= _dataset_metrics(stage, rows_by_budget).labeled(name)
    return results


def _dataset_metrics(stage: EvaluationSettings, rows_by_budget: Mapping[int | None, Sequence[Row]]) -> Results:
    """Return the metrics of one data set, from its rows by pre-filled budget."""
    free = outcomes_by_problem(rows_by_budget[None])
    results = summarize(free)
    results |= Results.from_values(verification_rates([verdict_from_row(row) for row in rows_by_budget[None]]))
    # Cutoffs use the same problems as the pre-filled budgets, so that the two curves can be compared.
    results |= at_cutoffs(free[: stage.budget_problems], stage.cutoffs)

    given: dict[int, list[list[Outcome]]] = {}
    for budget in stage.budgets:
        given[budget] = outcomes_by_problem(rows_by_budget[budget])
        summary = summarize(given[budget])
        part = Part(PartKind.BUDGET, budget)
        for metric in _BUDGET_METRICS:
            estimate = summary.get(metric)
            if estimate is not None:
                results |= Results({Key(metric, part=part): estimate})
    return results | budget_area(given)
