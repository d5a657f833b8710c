"""Tests of progress: a bar on a terminal, plain lines elsewhere, and nothing on other ranks."""

import io

import pytest
from rich.console import Console

from budgetrl.runs.progress import LINE_EVERY_SECONDS, Progress, describe

METRICS = {"step": 3, "loss": 0.1, "reward": 0.618, "accuracy": 0.957, "length": 38.4, "budget": 40.2}


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _lines(clock: Clock, seconds_per_step: float, steps: int, done: int = 0, shown: bool = True) -> list[str]:
    out = io.StringIO()
    progress = Progress(shown, Console(file=out, width=40), clock)
    with progress.track(steps, "grpo", done) as bar:
        for _ in range(steps - done):
            clock.now += seconds_per_step
            bar.update(1, **METRICS)
    return out.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_every_few_seconds_and_one_at_the_end() -> None:
    lines = _lines(Clock(), LINE_EVERY_SECONDS / 4, steps=9)
    assert [line.split()[1] for line in lines] == ["4/9", "8/9", "9/9"]
    assert lines[0] == "grpo 4/9  reward 0.62  accuracy 96 %  length 38  budget 40  0:12 left"
    assert lines[-1].endswith("took 0:22")


def test_time_left_counts_only_what_this_process_did() -> None:
    lines = _lines(Clock(), seconds_per_step=60, steps=120, done=118)
    assert lines[0].endswith("1:00 left")
    assert _lines(Clock(), seconds_per_step=3600, steps=3)[0].endswith("2:00:00 left")


def test_other_ranks_show_nothing() -> None:
    assert _lines(Clock(), LINE_EVERY_SECONDS, steps=3, shown=False) == []
    out = io.StringIO()
    Progress(shown=False, console=Console(file=out)).print("hello")
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar_and_messages_above_it() -> None:
    out = io.StringIO()
    progress = Progress(console=Console(file=out, width=120, force_terminal=True))
    with progress.track(2, "grpo") as bar:
        bar.update(1, **METRICS)
        progress.print("[careful] loss is not finite")
        bar.update(1, **METRICS)
    text = out.getvalue()
    assert "2/2" in text
    assert "accuracy 96 %" in text
    assert "[careful] loss is not finite" in text


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"loss": 0.12345}, "loss 0.123"),
        ({"reward": 0.5, "loss": 0.1, "budget": None}, "reward 0.50"),
        ({"reward": float("nan"), "time/tokens_per_second": 1234.0}, "reward nan  1.2k tokens/s"),
        ({"time/tokens_per_second": 12345.0}, "12k tokens/s"),
        ({"time/tokens_per_second": 123.0, "unknown": 1.0}, "123 tokens/s"),
        ({}, ""),
    ],
)
def test_what_is_shown_of_a_steps_metrics(numbers: dict[str, float | None], expected: str) -> None:
    assert describe(numbers) == expected
