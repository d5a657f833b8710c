"""The run folder: where everything about a run lies, written so that a crash at any moment leaves it readable."""

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from budgetrl.core.errors import RequestError
from budgetrl.core.jsonl import NotAnObjectError, numbered_lines, parse_object, place
from budgetrl.core.messages import Message

Row = Mapping[str, Any]
"""One line of a JSONL file, by column."""

HASHES = "hashes.json"
"""What an evaluation leaves beside its result: for each data set the hashes of what its numbers depend on."""


class RunFolder:
    """Paths and files of one run. On ranks other than 0 (`writes=False`) every write is a no-op."""

    def __init__(self, path: str | Path, writes: bool = True) -> None:
        self.path = Path(path)
        self.writes = writes
        self._open: dict[Path, TextIO] = {}
        self.config = self.path / "config.yaml"
        self.evaluation = self.path / "evaluation.yaml"
        """In a regraded evaluation: the configuration of the first."""
        self.plan = self.path / "plan.json"
        self.environment = self.path / "env.json"
        self.launch_script = self.path / "launch.sh"
        self.fingerprints = self.path / "data.json"
        self.metrics = self.path / "metrics.jsonl"
        self.completions = self.path / "completions.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.result = self.path / "result.json"
        self.hashes = self.path / HASHES
        self.report = self.path / "report.md"
        self.figures = self.path / "figures"
        self.logs = self.path / "logs"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def finished(self) -> bool:
        """Whether the run came to its end: `result.json` is written last, and at once."""
        return os.path.exists(self.result)

    @property
    def started(self) -> bool:
        """Whether the run has been started, or given to Slurm; a dry run alone leaves no `env.json`."""
        return os.path.exists(self.environment)

    def log(self, rank: int) -> Path:
        """The log file of a rank."""
        return self.logs / f"rank{rank}.log"

    def part(self, name: str) -> "RunFolder":
        """The folder of a run inside this one, such as a pipeline's `grpo/`, to be read."""
        return RunFolder(self.path / name, writes=False)

    def child(self, name: str) -> "RunFolder":
        """The folder of a run inside this one, to be written; all of them work on the same data."""
        folder = RunFolder(self.path / name, self.writes)
        folder.fingerprints = self.fingerprints
        folder.create()
        return folder

    def create(self) -> None:
        """Make the folder if it is not there."""
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)

    def append_metrics(self, row: Row) -> None:
        """One more line of metrics.jsonl; `row` has a `step`."""
        self.append(self.metrics, [row])

    def append_completions(self, rows: Iterable[Row]) -> None:
        """More lines of completions.jsonl."""
        self.append(self.completions, rows)

    def rewrite(self, path: Path, rows: Iterable[Row]) -> None:
        """Replace a JSONL file of this run, whole or not at all."""
        if self.writes:
            write_lines(path, rows)

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of this run as indented JSON, whole or not at all."""
        if self.writes:
            write_json(self.path / name, value)

    def write(self, path: Path, text: str) -> None:
        """Write a file of this run, whole or not at all."""
        if self.writes:
            write_atomically(path, text)

    def truncate_after(self, step: int) -> None:
        """Drop the rows of later steps, written after the checkpoint that training resumes from."""
        self.close()
        for path in (self.metrics, self.completions):
            if self.writes and path.exists():
                rows = [row for row in read_rows(path) if row.get("step", step) <= step]
                write_lines(path, rows)

    def is_unchanged(self, name: str, content: object) -> bool:
        """Whether `content` is what went by `name` when this run first used it; its repr must tell all of it."""
        known = json.loads(self.fingerprints.read_text()) if self.fingerprints.exists() else {}
        fingerprint = hashlib.sha256(repr(content).encode()).hexdigest()
        if self.writes and name not in known:
            write_json(self.fingerprints, {**known, name: fingerprint})
        return known.get(name, fingerprint) == fingerprint

    def clear_states(self) -> None:
        """Drop what is only there to resume from, once the result is written; the policies stay."""
        if self.writes:
            for state in [*self.checkpoints.glob("state-*"), *self.checkpoints.glob("partial-*")]:
                shutil.rmtree(state)

    def write_result(self, result: Mapping[str, float]) -> None:
        """The final numbers. Written last: from here on the run is finished."""
        if self.writes:
            self.close()
            write_json(self.result, result)

    def read_result(self) -> dict[str, float]:
        """The final numbers of a finished run."""
        return json.loads(self.result.read_text())

    def close(self) -> None:
        """Close the append-only files; the next append opens them again."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, so that the same run is not started twice at a time on this machine.

        Raises RequestError if another process holds it, or if it cannot be made or written.
        """
        with self._open_lock() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RequestError(f"{self.path}: another process is running this run just now") from None
            yield

    def _open_lock(self) -> TextIO:
        try:
            self.create()
            return open(self.path / ".lock", "w")
        except OSError as error:  # a file in the way, a place that may not be written
            raise RequestError(f"run.dir: {self.path} cannot be the run folder: {error.strerror}") from None

    def append(self, path: Path, rows: Iterable[Row]) -> None:
        """More lines of any JSONL file of this run."""
        if not self.writes:
            return
        if path not in self._open:
            self._open[path] = _open_to_append(path)
        self._open[path].write("".join(map(_line, rows)))
        self._open[path].flush()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file. A torn last line, left by a crash, is not a row.

    Raises:
        RequestError: naming file and line, where any other line is not a JSON object.
    """
    rows: list[dict[str, Any]] = []
    for number, line in numbered_lines(path):
        try:
            rows.append(parse_object(line))
        except NotAnObjectError as error:
            if not line.endswith(b"\n"):
                break
            raise RequestError(Message(place(path, number), str(error))) from None
    return rows


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    """Replace a JSONL file, whole or not at all."""
    write_atomically(path, "".join(map(_line, rows)))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_atomically(path, json.dumps(_finite(value), indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content, so that a reader or a crash sees the old or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    with open(draft, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _open_to_append(path: Path) -> TextIO:
    """Open for appending behind the last whole line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
    return open(path, "a")


def _line(row: Row) -> str:
    return json.dumps(_finite(row)) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
