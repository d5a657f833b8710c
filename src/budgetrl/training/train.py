"""The train loop, which all training goes through: data, optimizer steps, evaluations, and the books kept of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol

from budgetrl.core.schedules import is_due, progress_at
from budgetrl.runs.context import Context
from budgetrl.runs.folder import Row, read_rows
from budgetrl.runs.health import HealthMonitor
from budgetrl.runs.stop import Stopped
from budgetrl.settings.optimizer import Optimizer, learning_rate
from budgetrl.training.checkpoints import LAST
from budgetrl.training.learner import Learner
from budgetrl.training.step import BatchObjective, D, Unit, optimizer_step


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train, and what is done how often on the way."""

    steps: int
    optimizer: Optimizer
    tokens_per_device: int
    """Most padded tokens in one micro-batch."""
    save_every: int
    eval_every: int = 0
    """Steps between evaluations, if there are any; 0: only at the end."""
    log_every: int = 0
    """Steps between completions that are logged, if there are any; 0: only at the end."""


@dataclass(frozen=True)
class TrainingData(Generic[D]):
    """What the next optimizer steps learn from: one, or the several that a rollout serves."""

    minibatches: Sequence[Sequence[Unit[D]]]
    """The whole batch of each of these steps."""
    tokens: int
    """By which the speed is measured: those of the sequences, or those that were generated."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """To be logged with each of these steps."""
    generation_seconds: float | None = None
    """What it took to generate it; None where nothing was generated."""
    completions: Sequence[Row] = ()
    """Some of what was generated, to be logged now and then."""

    def timing(self, update_seconds: float) -> dict[str, float]:
        """Where the time of an optimizer step went."""
        if self.generation_seconds is None:
            return {"time/tokens_per_second": self.tokens / update_seconds}
        return {
            "time/rollout": self.generation_seconds,
            "time/update": update_seconds,
            "time/tokens_per_second": self.tokens / (self.generation_seconds + update_seconds),
        }


DataSource = Callable[[int], TrainingData[D]]
"""Gives what is learned from after so many steps, the same on every rank: a function of the step, or a rollout."""


class Stateful(Protocol):
    """What has to be remembered from step to step besides the engine's state, as plain values (JSON)."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        ...


def train(
    objective: BatchObjective[D],
    data: DataSource[D],
    learner: Learner,
    schedule: Schedule,
    ctx: Context,
    *,
    title: str = "training",
    evaluate: Callable[[int], dict[str, float]] | None = None,
    extra_state: Stateful | None = None,
) -> Path:
    """Train to the last step of the schedule; returns `checkpoints/last`.

    Goes on from the newest state there is. A state is saved only after the last step of a portion: those before it
    could not be resumed from, as the portion would be gone.

    Args:
        objective: the loss.
        data: what is learned from.
        learner: the policy; its engine is closed at the end.
        title: what the progress bar is called.
        evaluate: an evaluation of the policy as it is, called with the steps done when one is due; its metrics are
            logged with the step.
        extra_state: what is saved and resumed with the engine's state.
    """
    recorder = _Recorder(learner, schedule, ctx, extra_state)
    done = recorder.resume()
    with ctx.progress.track(schedule.steps, title, done) as bar:
        while done < schedule.steps:
            started = time.perf_counter()
            portion = data(done)
            started += portion.generation_seconds or 0.0  # what remains is the first step's
            minibatches = portion.minibatches[: schedule.steps - done]
            for n, units in enumerate(minibatches, start=1):
                lr = learning_rate(done, schedule.steps, schedule.optimizer)
                progress = progress_at(done, schedule.steps)
                metrics = optimizer_step(learner.engine, objective, units, lr, schedule.tokens_per_device, progress)
                metrics |= portion.metrics
                metrics |= portion.timing(time.perf_counter() - started)
                done += 1
                if evaluate and is_due(done, schedule.eval_every, schedule.steps):
                    metrics |= evaluate(done)
                if portion.completions and is_due(done, schedule.log_every, schedule.steps):
                    recorder.log_completions(done, portion.completions)
                recorder.finish_step(done, metrics, may_save=n == len(minibatches))
                bar.update(1, **metrics)
                started = time.perf_counter()
    last = learner.save(LAST)
    learner.engine.close()
    return last


@dataclass
class _Recorder:
    """What a training run leaves behind step by step: rows, warnings, states to resume from."""

    learner: Learner
    schedule: Schedule
    ctx: Context
    extra_state: Stateful | None
    health: HealthMonitor = field(default_factory=HealthMonitor)
    last_saved: int = 0

    def resume(self) -> int:
        """Go back to the newest state there is: load it, drop later rows. Returns the steps already done."""
        step = self.learner.checkpoints.latest_step()
        self.ctx.folder.truncate_after(step or 0)
        if step is None:
            return 0
        self.last_saved = step
        state = self.learner.checkpoints.load_state(step, self.learner.engine)["extra"]
        if self.extra_state:
            self.extra_state.load_state_dict(state)
        if self.ctx.world.is_main:
            rows = read_rows(self.ctx.folder.metrics)
            self.ctx.tracker.replay(rows)
            for row in rows:
                self.health.observe(row)
            self.ctx.print(f"resuming after step {step} of {self.schedule.steps}")
        return step

    def log_completions(self, step: int, completions: Sequence[Row]) -> None:
        """Write some of a rollout's completions."""
        rows = [{"step": step, **row} for row in completions]
        self.ctx.folder.append_completions(rows)
        self.ctx.tracker.log_completions(rows, step)

    def finish_step(self, step: int, metrics: Mapping[str, float], may_save: bool) -> None:
        """Record a step, warn if something looks wrong, save if it is time, and stop if told to.

        `may_save=False` where the state between this step and the next cannot be resumed from.
        """
        row = {"step": step, **metrics}
        if self.ctx.world.is_main:
            self.ctx.folder.append_metrics(row)
            self.ctx.tracker.log(metrics, step)
            for warning in self.health.observe(row):
                self.ctx.print(warning)
        if not may_save:
            return
        stopping = self.ctx.world.any(self.ctx.stop.requested)
        due = step - self.last_saved >= self.schedule.save_every or step == self.schedule.steps
        if stopping or due:
            self.last_saved = step
            extra = self.extra_state.state_dict() if self.extra_state else {}
            self.learner.checkpoints.save_state(step, self.learner.engine, extra)
        if stopping:
            raise Stopped
