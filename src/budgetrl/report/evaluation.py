"""What an evaluation leaves in its folder, and its numbers: of one just generated, and of one graded again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from budgetrl.grading.provenance import Hashes
from budgetrl.grading.rows import outcomes_by_problem, unprefilled_rows, verdict_from_row, verification_rates
from budgetrl.metrics.keys import Key, Part, PartKind
from budgetrl.metrics.length_control import at_cutoffs, budget_area
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import summarize
from budgetrl.report.against import EarlierEvaluation, changes
from budgetrl.runs.context import Context
from budgetrl.runs.folder import HASHES, Row

TABLE_ROWS = 200
"""Completions in the tracker's table; completions.jsonl has all."""
_AT_A_BUDGET = ("accuracy", "length")
"""What is of interest where the budget was given."""


class EvaluationSettings(Protocol):
    """The settings of an evaluation that say which numbers there are."""

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
    """Write what an evaluation leaves in its folder; returns its numbers, and what changed since an earlier one."""
    ctx.folder.rewrite(ctx.folder.completions, rows)
    ctx.folder.write_json(HASHES, hashes)
    ctx.tracker.log_completions(rows[:TABLE_ROWS], step=0)
    changed = changes(earlier.rows, unprefilled_rows(rows)) if earlier else Results()
    return (compute_metrics(stage, rows, datasets) | changed).flat()


def compute_metrics(stage: EvaluationSettings, rows: Sequence[Row], datasets: Iterable[str]) -> Results:
    """The numbers of every data set."""
    result = Results()
    for name in datasets:
        passes: dict[int | None, list[Row]] = {budget: [] for budget in (None, *stage.budgets)}
        for row in rows:
            if row["dataset"] == name:
                passes[row["prefilled"]].append(row)
        result |= _summary(stage, passes).labeled(name)
    return result


def _summary(stage: EvaluationSettings, passes: Mapping[int | None, Sequence[Row]]) -> Results:
    """The numbers of one data set, from its rows by pre-filled budget."""
    groups = {budget: outcomes_by_problem(written) for budget, written in passes.items()}
    summary = summarize(groups[None])
    summary |= Results.from_values(verification_rates([verdict_from_row(row) for row in passes[None]]))
    summary |= at_cutoffs(groups[None][: stage.budget_problems], stage.cutoffs)
    given = {budget: groups[budget] for budget in stage.budgets}
    for budget, controlled in given.items():
        numbers, part = summarize(controlled), Part(PartKind.BUDGET, budget)
        for metric in _AT_A_BUDGET:
            if (estimate := numbers.get(metric)) is not None:
                summary |= Results({Key(metric, part=part): estimate})
    return summary | budget_area(given)
