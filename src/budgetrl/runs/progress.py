"""Progress for the user: a live bar on a terminal, and a plain line now and then elsewhere."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_SECONDS = 10.0
"""Minimum time between two plain lines: a reader sees that the run is alive, and a day's log stays readable."""

_FORMATS: dict[str, Callable[[float], str]] = {
    "reward": lambda value: f"reward {value:.2f}",
    "accuracy": lambda value: f"accuracy {value:.0%}".replace("%", " %"),
    "length": lambda value: f"length {value:.0f}",
    "budget": lambda value: f"budget {value:.0f}",
    "loss": lambda value: f"loss {value:.3g}",
    "time/tokens_per_second": lambda value: f"{_short(value)} tokens/s",
}
"""Formatters of the metrics that are shown, in display order."""


class Progress:
    """Shows the progress of long tasks, one bar at a time. Silent with `shown=False`, as on all ranks but one."""

    def __init__(
        self,
        shown: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shown = shown
        self.console = console or Console()
        self.clock = clock

    def track(self, total: int, description: str, done: int = 0) -> "Bar":
        """Return a bar for `total` units of work, `done` of which were finished before a resume. Use it with `with`."""
        return Bar(self, total, description, done)

    def print(self, text: str) -> None:
        """Print a line. It appears above the bar if one is shown."""
        if self.shown:
            # Without markup, or rich would take "[0.9]" in a message for a style tag.
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bar:
    """The progress of one task. Enter it as a context manager to start the clock."""

    def __init__(self, progress: Progress, total: int, description: str, done: int) -> None:
        self._progress = progress
        self._total, self._description = total, description
        self._done_before, self._done = done, done
        self._live: RichProgress | None = None
        self._task = TaskID(0)
        self._started = self._last_line = progress.clock()

    def __enter__(self) -> Self:
        self._started = self._last_line = self._progress.clock()
        if self._progress.shown and self._progress.console.is_terminal:
            self._live = _live_bar(self._progress.console)
            self._task = self._live.add_task(self._description, total=self._total, numbers="")
            self._live.update(self._task, completed=self._done)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, n: int = 1, **numbers: float | None) -> None:
        """Record that `n` more units are done. `numbers` are metrics, of which the most telling ones are shown."""
        self._done += n
        if self._live is not None:
            self._live.update(self._task, completed=self._done, numbers=describe(numbers))
        elif self._progress.shown and self._line_is_due():
            self._last_line = self._progress.clock()
            # Such as "grpo 4/9  reward 0.62  accuracy 96 %  0:12 left".
            parts = (f"{self._description} {self._done}/{self._total}", describe(numbers), self._time_left())
            self._progress.print("  ".join(filter(None, parts)))

    def _line_is_due(self) -> bool:
        waited = self._progress.clock() - self._last_line
        return waited >= LINE_EVERY_SECONDS or self._done >= self._total

    def _time_left(self) -> str:
        elapsed = self._progress.clock() - self._started
        if self._done >= self._total:
            return f"took {_duration(elapsed)}"
        # Only this process's units count: the clock did not run for those before a resume.
        per_unit = elapsed / max(1, self._done - self._done_before)
        return f"{_duration(per_unit * (self._total - self._done))} left"


def describe(numbers: dict[str, float | None]) -> str:
    """Return the most important metrics in one line. Metrics that are absent or None are left out.

    >>> describe({"loss": 0.1, "reward": 0.618, "accuracy": 0.96, "time/tokens_per_second": 12345.0})
    'reward 0.62  accuracy 96 %  12k tokens/s'
    """
    shown = {key: value for key, value in numbers.items() if value is not None}
    if "reward" in shown:  # the loss of policy-gradient training says little about progress
        shown.pop("loss", None)
    parts: list[str] = []
    for key, formatted in _FORMATS.items():
        if key in shown:
            parts.append(formatted(shown[key]))
    return "  ".join(parts)


def _live_bar(console: Console) -> RichProgress:
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
        refresh_per_second=2,
        speed_estimate_period=600,  # seconds; a large model's step takes minutes, and the default of 30 would see none
    )


def _short(value: float) -> str:
    """Return a number in short form, such as 12k, 1.2k or 850."""
    if not math.isfinite(value) or value < 1000:
        return f"{value:.0f}"
    return f"{value / 1000:.1f}k" if value < 10_000 else f"{value / 1000:.0f}k"


def _duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, such as 1:02:03 or 0:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
