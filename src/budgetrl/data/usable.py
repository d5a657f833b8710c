"""The problems that a run can use: loaded, unchanged since it began, with answers that can be read."""

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
    """The first `limit` usable problems of a split; says what was left out, and why.

    Raises RequestError if the split cannot be loaded, is not what it was when the run began, or if no problem in it
    has an answer that can be read.
    """
    whole = dataset.load(split)
    if not ctx.folder.is_unchanged(f"{split} problems of {dataset}", whole.problems):
        text = f"the {split} problems of {dataset.name} are not those that this run began with"
        raise RequestError(Message("dataset", text, "put them back, or start a new run with another run.dir"))
    loaded = drop_unparsable(whole, verifier)
    if loaded.skipped:
        ctx.print(f"{dataset.name}: {len(loaded.skipped)} of the {split} rows left out, such as {loaded.skipped[0]}")
    if not loaded.problems:
        text = f"none of the {split} problems of {dataset.name} is left: {loaded.skipped[0]}"
        raise RequestError(Message("dataset", text))
    return loaded.problems[:limit]


def drop_unparsable(loaded: Loaded, verifier: Verifier) -> Loaded:
    """Leave out problems whose gold answer math-verify cannot read: no response could be right there."""
    readable = verifier.can_parse([problem.answer for problem in loaded.problems])
    kept: list[Problem] = []
    messages: list[str] = []
    for problem, is_readable in zip(loaded.problems, readable, strict=True):
        if is_readable:
            kept.append(problem)
        else:
            messages.append(f"problem {problem.id}: math-verify cannot read its answer {problem.answer!r}")
    return Loaded(kept, loaded.skipped + messages)


def warn_about_overlap(train: Sequence[Problem], held_out: Sequence[Problem], ctx: Context) -> None:
    """Tell of held-out problems that are trained on as well."""
    if shared := overlap(train, held_out):
        ctx.print(f"{shared} of the {len(held_out)} held-out problems are training problems too, and flatter the model")


def overlap(train: Sequence[Problem], evaluation: Sequence[Problem]) -> int:
    """How many evaluation problems are training problems too, but for case, blanks and punctuation."""
    known = {_normalized(problem.problem) for problem in train}
    return sum(_normalized(problem.problem) in known for problem in evaluation)


def _normalized(text: str) -> str:
    """Letters, digits and operators: `2+3` and `2-3` are different problems."""
    return "".join(c for c in text.casefold() if c.isalnum() or c in "+-*/^=<>")
