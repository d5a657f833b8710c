"""Tests of resumable work: rows are made in chunks, saved to a file, and not made again after a restart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alone import context
from budgetrl.core.records import Problem
from budgetrl.runs.folder import read_rows, write_lines
from budgetrl.runs.resumable import BATCHES_PER_CHUNK, work_through

PROBLEMS = [Problem(name, f"{name}?", "1") for name in "abcdefghij"]


def row(problem: Problem, sample: int) -> dict[str, Any]:
    return {"problem_id": problem.id, "sample": sample}


def worked(folder: Path, rows_at_once: int = 1, samples: int = 2) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of all problems, and the ids of the problems in each processed chunk as one string."""
    asked: list[str] = []

    def make_rows(share: Sequence[Problem]) -> list[list[dict[str, Any]]]:
        asked.append("".join(problem.id for problem in share))
        return [[row(problem, n) for n in range(samples)] for problem in share]

    path = folder / "rows.jsonl"
    rows = work_through(PROBLEMS, make_rows, path, samples, rows_at_once, "working", context(folder))
    assert sorted(map(str, read_rows(path))) == sorted(map(str, rows))
    return rows, asked


WHOLE = [row(problem, n) for problem in PROBLEMS for n in range(2)]


def test_rows_come_in_the_order_of_the_problems_a_few_batches_at_a_time(tmp_path: Path) -> None:
    rows, asked = worked(tmp_path, rows_at_once=2)
    assert rows == WHOLE
    assert asked == ["abcd", "efgh", "ij"]
    assert len(asked[0]) * 2 == BATCHES_PER_CHUNK * 2


def test_a_chunk_has_at_least_one_problem(tmp_path: Path) -> None:
    rows, asked = worked(tmp_path, rows_at_once=1, samples=100)
    assert len(rows) == 1000 and asked == [*"abcdefghij"]


def test_only_what_is_missing_is_made_and_half_a_problem_counts_as_missing(tmp_path: Path) -> None:
    b, d, j = PROBLEMS[1], PROBLEMS[3], PROBLEMS[9]
    write_lines(tmp_path / "rows.jsonl", [row(j, 0), row(d, 0), row(j, 1), row(b, 0), row(b, 1)])
    rows, asked = worked(tmp_path, rows_at_once=100)
    assert rows == WHOLE
    assert asked == ["acdefghi"]
    assert worked(tmp_path) == (WHOLE, [])
