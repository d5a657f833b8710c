"""Work over many problems that a killed run takes up where it was."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from budgetrl.core.records import Problem
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, read_rows, write_lines

BATCHES_PER_CHUNK = 4
"""Rows are saved every so many full batches."""


def work_through(
    problems: Sequence[Problem],
    make_rows: Callable[[Sequence[Problem]], list[list[Row]]],
    path: Path,
    rows_per_problem: int,
    rows_at_once: int,
    description: str,
    ctx: Context,
) -> list[Row]:
    """Rows of all problems, `rows_per_problem` each, appended to a JSONL file as they are made.

    `make_rows` maps this rank's problems to the rows of each, which hold `problem_id`; it makes `rows_at_once` on a
    rank at the same time. What an earlier process left in the file is kept, so a killed run goes on where it was.
    """
    ctx.world.barrier()
    rows = _complete_rows(path, rows_per_problem, ctx)
    done = {row["problem_id"] for row in rows}
    left = [problem for problem in problems if problem.id not in done]
    chunk_size = max(1, BATCHES_PER_CHUNK * rows_at_once * ctx.world.size // rows_per_problem)
    with ctx.progress.track(len(problems), description, len(problems) - len(left)) as bar:
        for start in range(0, len(left), chunk_size):
            ctx.check_stop()
            chunk = left[start : start + chunk_size]
            new: list[Row] = []
            for rows_of_problem in ctx.world.merge(make_rows(ctx.world.share(chunk))):
                new += rows_of_problem
            ctx.folder.append(path, new)
            rows += new
            bar.update(len(chunk))
    order = {problem.id: place for place, problem in enumerate(problems)}
    return sorted(rows, key=lambda row: order[row["problem_id"]])


def _complete_rows(path: Path, rows_per_problem: int, ctx: Context) -> list[Row]:
    """The rows in the file of problems that have all of theirs; the others are dropped from the file."""
    found = read_rows(path) if path.exists() else []
    counts = Counter(row["problem_id"] for row in found)
    rows: list[Row] = [row for row in found if counts[row["problem_id"]] == rows_per_problem]
    if ctx.world.is_main and len(rows) < len(found):
        write_lines(path, rows)
    return rows
