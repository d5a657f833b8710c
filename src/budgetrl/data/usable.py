"""Load the problems of a run, check that they did not change, and drop those that cannot be graded."""

from collections.abc import Sequence

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.core.records import Problem
from budgetrl.data.sources.base import DatasetSettings, Loaded, Split
from budgetrl.grading.verifier import Verifier
from budgetrl.runs.context import Context


def load_problems(
    dataset: DatasetSettings, split: Split, limit: int | None, verifier: Verifier, ctx: Context
) -> list[Problem]:
    """Return the first `limit` usable problems of a split, and print how many rows were skipped.

    Raises:
        RequestError: if the split cannot be loaded, has changed since the run began, or has no problem left.
    """
    loaded = dataset.load(split)
    # Compared before anything is dropped: a resumed run must see exactly the data that it started with.
    if not ctx.folder.is_unchanged(f"{split} problems of {dataset}", loaded.problems):
        text = f"the {split} problems of {dataset.name} have changed since this run began"
        raise RequestError(Message("dataset", text, "restore them, or start a new run with another run.dir"))
    usable = drop_unparsable(loaded, verifier)
    if usable.skipped:
        ctx.print(f"{dataset.name}: skipped {len(usable.skipped)} of the {split} rows, such as {usable.skipped[0]}")
    if not usable.problems:
        text = f"none of the {split} problems of {dataset.name} can be used: {usable.skipped[0]}"
        raise RequestError(Message("dataset", text))
    return usable.problems[:limit]


def drop_unparsable(loaded: Loaded, verifier: Verifier) -> Loaded:
    """Drop problems whose gold answer math-verify cannot parse: every response to them would be graded wrong."""
    parsable = verifier.can_parse([problem.answer for problem in loaded.problems])
    kept: list[Problem] = []
    skipped = list(loaded.skipped)
    for problem, can_parse in zip(loaded.problems, parsable, strict=True):
        if can_parse:
            kept.append(problem)
        else:
            skipped.append(f"problem {problem.id}: math-verify cannot parse its answer {problem.answer!r}")
    return Loaded(kept, skipped)


def warn_about_overlap(train: Sequence[Problem], held_out: Sequence[Problem], ctx: Context) -> None:
    """Print a warning if held-out problems are also in the training set."""
    if shared := overlap(train, held_out):
        ctx.print(
            f"{shared} of the {len(held_out)} held-out problems are also training problems; results on them are biased"
        )


def overlap(train: Sequence[Problem], evaluation: Sequence[Problem]) -> int:
    """Count the evaluation problems that are also training problems, ignoring case, whitespace and punctuation."""
    known = {_normalize(problem.problem) for problem in train}
    return sum(_normalize(problem.problem) in known for problem in evaluation)


def _normalize(text: str) -> str:
    # Operators stay: `2+3` and `2-3` are different problems.
    return "".join(c for c in text.casefold() if c.isalnum() or c in "+-*/^=<>")
