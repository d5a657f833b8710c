"""The problems that a run can use: loaded, unchanged since it began, with answers that can be read."""

from collections.abc import Sequence

from budgetrl.core.errors import RequestError
from budgetrl.core.records import Problem
from budgetrl.data.problems import drop_unreadable, load_problems, overlap
from budgetrl.data.spec import DatasetSettings, Split
from budgetrl.grading.verifier import Verifier
from budgetrl.runs.context import Context


def problems_of(
    spec: DatasetSettings, split: Split, limit: int | None, verifier: Verifier, ctx: Context
) -> list[Problem]:
    """The first `limit` usable problems of a split; says what was left out, and why.

    Raises RequestError if the split cannot be loaded, is not what it was when the run began, or if no problem in it
    has an answer that can be read.
    """
    whole = load_problems(spec, split)
    if not ctx.folder.is_unchanged(f"{split} problems of {spec}", whole.problems):
        raise RequestError(
            f"dataset: the {split} problems of {spec.name} are not those that this run began with; "
            "put them back, or start a new run with another run.dir"
        )
    loaded = drop_unreadable(whole, verifier)
    if loaded.skipped:
        ctx.say(f"{spec.name}: {len(loaded.skipped)} of the {split} rows left out, such as {loaded.skipped[0]}")
    if not loaded.problems:
        raise RequestError(f"dataset: none of the {split} problems of {spec.name} is left: {loaded.skipped[0]}")
    return loaded.problems[:limit]


def say_overlap(train: Sequence[Problem], held_out: Sequence[Problem], ctx: Context) -> None:
    """Tell of held-out problems that are trained on as well."""
    if shared := overlap(train, held_out):
        ctx.say(f"{shared} of the {len(held_out)} held-out problems are training problems too, and flatter the model")
