"""The run folder. Its files are written so that they stay readable after a crash at any moment."""

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
from budgetrl.core.jsonl import NotAnObjectError, line_location, numbered_lines, parse_object
from budgetrl.core.messages import Message

Row = Mapping[str, Any]
"""One line of a JSONL file: column names to values."""

HASHES = "hashes.json"
"""File that an evaluation writes next to its result: for each data set, hashes of what its metrics depend on."""


class RunFolder:
    """The paths and files of one run. With `writes=False`, as on all ranks but the main one, writes do nothing."""

    def __init__(self, path: str | Path, writes: bool = True) -> None:
        self.path = Path(path)
        self.writes = writes
        self._open: dict[Path, TextIO] = {}
        self.config = self.path / "config.yaml"
        self.evaluation = self.path / "evaluation.yaml"
        """Only in a regraded evaluation: the configuration of the original evaluation."""
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
        """Whether the run has finished."""
        # result.json is the last file that a run writes, and it is written atomically.
        return os.path.exists(self.result)

    @property
    def started(self) -> bool:
        """Whether the run has been started or submitted to Slurm."""
        # A dry run writes the configuration and the plan, but no env.json.
        return os.path.exists(self.environment)

    def log(self, rank: int) -> Path:
        """Return the path of a rank's log file."""
        return self.logs / f"rank{rank}.log"

    def part(self, name: str) -> "RunFolder":
        """Return a run inside this one, such as the `grpo/` of a pipeline, for reading only."""
        return RunFolder(self.path / name, writes=False)

    def child(self, name: str) -> "RunFolder":
        """Create and return the folder of a run inside this one."""
        folder = RunFolder(self.path / name, self.writes)
        # All parts of a run use the same data, so they share one file of fingerprints.
        folder.fingerprints = self.fingerprints
        folder.create()
        return folder

    def create(self) -> None:
        """Create the folder if it does not exist."""
        if self.writes:
            self.path.mkdir(parents=True, exist_ok=True)

    def append_metrics(self, row: Row) -> None:
        """Append a row to metrics.jsonl. The row has a `step`."""
        self.append(self.metrics, [row])

    def append_completions(self, rows: Iterable[Row]) -> None:
        """Append rows to completions.jsonl."""
        self.append(self.completions, rows)

    def rewrite(self, path: Path, rows: Iterable[Row]) -> None:
        """Replace a JSONL file of this run atomically."""
        if self.writes:
            write_lines(path, rows)

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of this run atomically as indented JSON."""
        if self.writes:
            write_json(self.path / name, value)

    def write(self, path: Path, text: str) -> None:
        """Write a file of this run atomically."""
        if self.writes:
            write_atomically(path, text)

    def truncate_after(self, step: int) -> None:
        """Remove the rows of steps after `step`, the checkpoint that training resumes from: they will be made again."""
        self.close()
        for path in (self.metrics, self.completions):
            if self.writes and path.exists():
                # Rows without a step, such as those of an evaluation, are kept.
                rows = [row for row in read_rows(path) if row.get("step", step) <= step]
                write_lines(path, rows)

    def is_unchanged(self, name: str, content: object) -> bool:
        """Return whether `content` equals what this run first used under `name`. Remembers new names.

        Args:
            name: A name for the data, such as "train problems of gsm8k".
            content: The data. It is hashed through its repr, which must show all of it.
        """
        # data.json maps names to SHA-256 hashes.
        known = json.loads(self.fingerprints.read_text()) if self.fingerprints.exists() else {}
        fingerprint = hashlib.sha256(repr(content).encode()).hexdigest()
        if self.writes and name not in known:
            write_json(self.fingerprints, {**known, name: fingerprint})
        return known.get(name, fingerprint) == fingerprint

    def clear_states(self) -> None:
        """Delete the states that only serve to resume an unfinished run. The model checkpoints are kept."""
        if self.writes:
            for state in [*self.checkpoints.glob("state-*"), *self.checkpoints.glob("partial-*")]:
                shutil.rmtree(state)

    def write_result(self, result: Mapping[str, float]) -> None:
        """Write the final metrics. The run counts as finished from now on, so call this last."""
        if self.writes:
            self.close()
            write_json(self.result, result)

    def read_result(self) -> dict[str, float]:
        """Return the final metrics of a finished run."""
        return json.loads(self.result.read_text())

    def close(self) -> None:
        """Close the files opened for appending. The next append reopens them."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder, so that only one process on this machine executes the run.

        Raises:
            RequestError: If another process holds the lock, or the folder cannot be created or written to.
        """
        with self._open_lock() as file:  # closing the file releases the lock, and so does the end of the process
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = "another process is already executing this run"
                raise RequestError(Message(str(self.path), text, "wait for it or stop it")) from None
            yield

    def _open_lock(self) -> TextIO:
        try:
            self.create()
            return open(self.path / ".lock", "w")
        except OSError as error:  # a file has this name, or permission is denied
            text = f"cannot use {self.path} as the run folder: {error.strerror}"
            raise RequestError(Message("run.dir", text, "choose another folder")) from None

    def append(self, path: Path, rows: Iterable[Row]) -> None:
        """Append rows to a JSONL file of this run. They can be read as soon as this returns."""
        if not self.writes:
            return
        if path not in self._open:
            self._open[path] = _open_to_append(path)
        self._open[path].write("".join(map(_line, rows)))
        self._open[path].flush()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file. An incomplete last line, left by a crash, is ignored.

    Raises:
        RequestError: If any other line is not a JSON object. The message names the file and the line.
    """
    rows: list[dict[str, Any]] = []
    for number, line in numbered_lines(path):
        try:
            rows.append(parse_object(line))
        except NotAnObjectError as error:
            if not line.endswith(b"\n"):  # only the last line can lack a newline: the write was cut off
                break
            raise RequestError(Message(line_location(path, number), str(error))) from None
    return rows


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    """Replace a JSONL file atomically."""
    write_atomically(path, "".join(map(_line, rows)))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, json.dumps(_finite(value), indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content. A reader sees either the old or the new content, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".draft")
    with open(draft, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # the content must be on disk before the rename makes it visible
    draft.replace(path)


def _open_to_append(path: Path) -> TextIO:
    """Open a file for appending, and remove an incomplete last line that a crash left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        content = path.read_bytes()
        end_of_last_line = content.rfind(b"\n") + 1  # 0 if there is no complete line
        os.truncate(path, end_of_last_line)
    return open(path, "a")


def _line(row: Row) -> str:
    return json.dumps(_finite(row)) + "\n"


def _finite(value: Any) -> Any:
    """Return a copy in which NaN and infinities are None: strict JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
