"""Loading the problems of a data set: the one door to every source."""

from collections.abc import Sequence
from dataclasses import replace

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data import hub, jsonl
from budgetrl.data.mini.tasks import TASKS, generate
from budgetrl.data.spec import DataError, DatasetSettings, Fields, Loaded, Split
from budgetrl.grading.verifier import Verifier

__all__ = [
    "DataError",
    "DatasetSettings",
    "Fields",
    "Loaded",
    "count_problems",
    "drop_unreadable",
    "load_problems",
    "overlap",
]


def load_problems(spec: DatasetSettings, split: Split) -> Loaded:
    """The training or the evaluation problems, always the same ones in the same order.

    Raises DataError if the set has no such split, cannot be read, or holds a bad row (unless
    `spec.on_bad_row` is "skip").
    """
    loaded = Loaded(generate(spec, split)) if spec.source in TASKS else _from_rows(spec, split)
    limit = spec.limit if split == "train" else spec.eval_limit
    return replace(loaded, problems=loaded.problems[:limit])


def count_problems(spec: DatasetSettings, split: Split, limit: int | None = None) -> int | None:
    """The most problems that a split, and `limit`, can come to, without loading them; None where that is not known."""
    limits = [_most_problems(spec, split), spec.limit if split == "train" else spec.eval_limit, limit]
    return min((n for n in limits if n is not None), default=None)


def _most_problems(spec: DatasetSettings, split: Split) -> int | None:
    """Before any limit; None where that is not known, and where there is none, which loading refuses."""
    if spec.source in TASKS:
        return spec.size if split == "train" else spec.eval_size
    kept_back = 0 if spec.has_eval_set else spec.held_out
    if split == "eval" and not spec.has_eval_set:
        return kept_back or None
    rows = hub.rows_of(spec, split) if spec.source == "hub" else jsonl.rows_of(spec, split)
    return rows - kept_back if rows and rows > kept_back else None


def drop_unreadable(loaded: Loaded, verifier: Verifier) -> Loaded:
    """Leave out problems whose gold answer math-verify cannot read: no response could be right there."""
    readable = verifier.readable([problem.answer for problem in loaded.problems])
    kept, messages = [], []
    for problem, is_readable in zip(loaded.problems, readable, strict=True):
        if is_readable:
            kept.append(problem)
        else:
            messages.append(f"problem {problem.id}: math-verify cannot read its answer {problem.answer!r}")
    return Loaded(kept, loaded.skipped + messages)


def overlap(train: Sequence[Problem], evaluation: Sequence[Problem]) -> int:
    """How many evaluation problems are training problems too, but for case, blanks and punctuation."""
    known = {_normalized(problem.problem) for problem in train}
    return sum(_normalized(problem.problem) in known for problem in evaluation)


def _normalized(text: str) -> str:
    """Letters, digits and operators: `2+3` and `2-3` are different problems."""
    return "".join(c for c in text.casefold() if c.isalnum() or c in "+-*/^=<>")


def _from_rows(spec: DatasetSettings, split: Split) -> Loaded:
    """A set of its own, or one part of the training set."""
    if split == "train" and not spec.has_train_set:
        raise DataError(f"dataset: {spec.name} is for evaluation only; train on another one")
    if spec.has_eval_set or (split == "train" and not spec.held_out):
        return _read(spec, split)
    if not spec.held_out:
        raise DataError(
            f"dataset.held_out: {spec.name} has no evaluation set; set dataset.eval_path, or dataset.held_out"
            " to the number of training problems to keep back"
        )
    train, held = _hold_out(_read(spec, "train"), spec.held_out)
    return train if split == "train" else held


def _read(spec: DatasetSettings, split: Split) -> Loaded:
    if spec.source == "hub":
        return hub.load(spec, split)
    key = "path" if split == "train" else "eval_path"
    return jsonl.load(spec, getattr(spec, key), key)


def _hold_out(loaded: Loaded, count: int) -> tuple[Loaded, Loaded]:
    """Split off `count` problems by a hash of their ids: the same ones whatever order the rows have."""
    if count >= len(loaded.problems):
        raise DataError(
            f"dataset.held_out: {count} of only {len(loaded.problems)} problems would leave none to train on"
        )
    by_hash = sorted(loaded.problems, key=lambda problem: derive_seed("held out", problem.id))
    chosen = {problem.id for problem in by_hash[:count]}
    rest = [problem for problem in loaded.problems if problem.id not in chosen]
    held = [problem for problem in loaded.problems if problem.id in chosen]
    return replace(loaded, problems=rest), replace(loaded, problems=held)
