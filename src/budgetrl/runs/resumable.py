"""Work over many problems that a killed run can resume."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from budgetrl.core.records import Problem
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, read_rows, write_lines

BATCHES_PER_CHUNK = 4
"""Number of full batches between saves. A killed run loses at most this much work."""


def work_through(
    problems: Sequence[Problem],
    make_rows: Callable[[Sequence[Problem]], list[list[Row]]],
    path: Path,
    rows_per_problem: int,
    rows_at_once: int,
    description: str,
    ctx: Context,
) -> list[Row]:
    """Make rows for all problems, append them to a JSONL file as they come, and return them in problem order.

    Problems whose rows are already in the file are not processed again, so a killed run continues where it stopped.

    Args:
        make_rows: Maps this rank's problems to `rows_per_problem` rows each. Every row has a `problem_id`.
        rows_at_once: Number of rows that `make_rows` produces in parallel on one rank.
        description: Label of the progress bar.

    Raises:
        Stopped: Between two chunks, if the run received a stop request.
    """
    ctx.world.barrier()  # the main rank may still be writing to the file that all ranks read next
    rows = _complete_rows(path, rows_per_problem, ctx)
    done = {row["problem_id"] for row in rows}
    left = [problem for problem in problems if problem.id not in done]
    # All ranks together fill `rows_at_once * size` rows at a time. A chunk is a few of these batches.
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
    # After a resume, older rows come first: restore the order of the problems.
    order = {problem.id: position for position, problem in enumerate(problems)}
    return sorted(rows, key=lambda row: order[row["problem_id"]])


def _complete_rows(path: Path, rows_per_problem: int, ctx: Context) -> list[Row]:
    """Return the rows of problems that have all their rows, and remove the other rows from the file."""
    found = read_rows(path) if path.exists() else []
    counts = Counter(row["problem_id"] for row in found)
    rows: list[Row] = [row for row in found if counts[row["problem_id"]] == rows_per_problem]
    if ctx.world.is_main and len(rows) < len(found):
        write_lines(path, rows)
    return rows
