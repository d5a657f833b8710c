"""The train loop, shared by all training: get data, take optimizer steps, evaluate, record metrics, save state."""

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
    """Number of steps, learning rate, and how often to save, evaluate and log."""

    steps: int
    optimizer: Optimizer
    tokens_per_device: int
    """Maximum padded tokens per micro-batch."""
    save_every: int
    eval_every: int = 0
    """Steps between evaluations; 0: evaluate only after the last step. Ignored where `train` has no `evaluate`."""
    log_every: int = 0
    """Steps between logged completions; 0: log only after the last step. Ignored where nothing is generated."""


@dataclass(frozen=True)
class TrainingData(Generic[D]):
    """The data for one optimizer step, or for the several steps that share a rollout."""

    minibatches: Sequence[Sequence[Unit[D]]]
    """The global batch of each step, the same on every rank."""
    tokens: int
    """Number of tokens, used to compute tokens per second: those trained on, or those generated in a rollout."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Logged with each of these steps."""
    generation_seconds: float | None = None
    """Time the rollout took; None if nothing was generated."""
    completions: Sequence[Row] = ()
    """A few of the generated completions, logged every `log_every` steps."""

    def timing(self, update_seconds: float) -> dict[str, float]:
        """Return the timing metrics of one optimizer step."""
        if self.generation_seconds is None:
            return {"time/tokens_per_second": self.tokens / update_seconds}
        return {
            "time/rollout": self.generation_seconds,
            "time/update": update_seconds,
            "time/tokens_per_second": self.tokens / (self.generation_seconds + update_seconds),
        }


DataSource = Callable[[int], TrainingData[D]]
"""Returns the training data that follows the given number of finished steps. Must return the same on every rank."""


class Stateful(Protocol):
    """State to save with each checkpoint besides the engine's, as JSON values."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
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
    """Train until the last step of the schedule and return `checkpoints/last`. Call on every rank.

    Resumes from the newest saved state, if there is one. State is saved only after the last step of a rollout: the
    rollout itself is not saved, so a run cannot resume in the middle of one.

    Args:
        objective: the loss.
        data: called whenever the previous data is used up.
        learner: the policy in training; its engine is closed at the end.
        title: label of the progress bar.
        evaluate: evaluates the current policy. Called with the number of finished steps whenever an evaluation is
            due; its metrics are logged with the step.
        extra_state: saved and restored together with the engine's state.

    Raises:
        Stopped: the run was asked to stop; its state is saved.
    """
    recorder = _Recorder(learner, schedule, ctx, extra_state)
    done = recorder.resume()
    with ctx.progress.track(schedule.steps, title, done) as bar:
        while done < schedule.steps:
            started = time.perf_counter()
            batch = data(done)
            # `started` now excludes generation: what is left, such as computing old log-probabilities, counts toward
            # the first step's update time.
            started += batch.generation_seconds or 0.0
            # The last rollout may offer more minibatches than there are steps left.
            minibatches = batch.minibatches[: schedule.steps - done]
            for n, units in enumerate(minibatches, start=1):
                # 1. Update the policy.
                lr = learning_rate(done, schedule.steps, schedule.optimizer)
                progress = progress_at(done, schedule.steps)
                metrics = optimizer_step(learner.engine, objective, units, lr, schedule.tokens_per_device, progress)
                metrics |= batch.metrics
                metrics |= batch.timing(time.perf_counter() - started)
                done += 1

                # 2. Evaluate and log. This comes before saving, because an evaluation changes `extra_state`.
                if evaluate and is_due(done, schedule.eval_every, schedule.steps):
                    metrics |= evaluate(done)
                if batch.completions and is_due(done, schedule.log_every, schedule.steps):
                    recorder.log_completions(done, batch.completions)

                # 3. Record the step, and save or stop.
                recorder.finish_step(done, metrics, may_save=n == len(minibatches))
                bar.update(1, **metrics)
                started = time.perf_counter()
    last = learner.save(LAST)
    learner.engine.close()
    return last


@dataclass
class _Recorder:
    """Writes what a training run records at each step: metrics, completions, warnings, and state to resume from."""

    learner: Learner
    schedule: Schedule
    ctx: Context
    extra_state: Stateful | None
    health: HealthMonitor = field(default_factory=HealthMonitor)
    last_saved: int = 0

    def resume(self) -> int:
        """Load the newest saved state, if any, and return the number of finished steps."""
        step = self.learner.checkpoints.latest_step()
        # Steps after the saved state will run again, so their rows would otherwise be there twice.
        self.ctx.folder.truncate_after(step or 0)
        if step is None:
            return 0
        self.last_saved = step
        state = self.learner.checkpoints.load_state(step, self.learner.engine)["extra"]
        if self.extra_state:
            self.extra_state.load_state_dict(state)
        if self.ctx.world.is_main:
            # The health monitor starts empty, and an offline tracker may have lost rows: replay them.
            rows = read_rows(self.ctx.folder.metrics)
            self.ctx.tracker.replay(rows)
            for row in rows:
                self.health.observe(row)
            self.ctx.print(f"resuming after step {step} of {self.schedule.steps}")
        return step

    def log_completions(self, step: int, completions: Sequence[Row]) -> None:
        """Log some of a rollout's completions."""
        rows = [{"step": step, **row} for row in completions]
        self.ctx.folder.append_completions(rows)
        self.ctx.tracker.log_completions(rows, step)

    def finish_step(self, step: int, metrics: Mapping[str, float], may_save: bool) -> None:
        """Log the metrics of a step and any health warnings; save if a save is due; raise Stopped if asked to stop.

        Args:
            step: number of finished steps.
            metrics: metrics of this step.
            may_save: False in the middle of a rollout, where a run cannot resume.
        """
        row = {"step": step, **metrics}
        if self.ctx.world.is_main:
            self.ctx.folder.append_metrics(row)
            self.ctx.tracker.log(metrics, step)
            for warning in self.health.observe(row):
                self.ctx.print(warning)
        if not may_save:
            return
        # `world.any` is a collective call, so every rank reaches the same decision: saving is collective too.
        stopping = self.ctx.world.any(self.ctx.stop.requested)
        # Counted from the last save instead of `step % save_every`, because only every n-th step may save.
        due = step - self.last_saved >= self.schedule.save_every or step == self.schedule.steps
        if stopping or due:
            self.last_saved = step
            extra = self.extra_state.state_dict() if self.extra_state else {}
            self.learner.checkpoints.save_state(step, self.learner.engine, extra)
        if stopping:
            raise Stopped
