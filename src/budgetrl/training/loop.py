"""The bookkeeping around optimizer steps: resume, record, save, stop."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from budgetrl.runs.context import Context
from budgetrl.runs.folder import read_rows
from budgetrl.runs.health import HealthMonitor
from budgetrl.runs.stop import Stopped
from budgetrl.training.checkpoints import Checkpoints
from budgetrl.training.engine import ZeroEngine


class Memory(Protocol):
    """What a stage has to remember from step to step besides the engine's state, as plain values (JSON)."""

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        ...


@dataclass
class Loop:
    """One training run's loop over steps 1 to `steps`."""

    ctx: Context
    engine: ZeroEngine
    saved: Checkpoints
    steps: int
    save_every: int
    memory: Memory | None = None
    """Saved and resumed with the engine; None where there is nothing to remember."""
    health: HealthMonitor = field(default_factory=HealthMonitor)
    last_saved: int = 0

    def resume(self) -> int:
        """Go back to the newest state there is: load it, drop later rows. Returns the steps already done."""
        step = self.saved.latest_step()
        self.ctx.folder.truncate_after(step or 0)
        if step is None:
            return 0
        self.last_saved = step
        state = self.saved.load_state(step, self.engine)["extra"]
        if self.memory:
            self.memory.load_state_dict(state)
        if self.ctx.world.leads:
            rows = read_rows(self.ctx.folder.metrics)
            self.ctx.tracker.replay(rows)
            for row in rows:
                self.health.observe(row)
            self.ctx.say(f"resuming after step {step} of {self.steps}")
        return step

    def finish_step(self, step: int, metrics: Mapping[str, float], may_save: bool = True) -> None:
        """Record step `step`, warn if something looks wrong, save if it is time, and stop if told to.

        `may_save=False` where the state between this step and the next cannot be resumed from.
        """
        row = {"step": step, **metrics}
        if self.ctx.world.leads:
            self.ctx.folder.append_metrics(row)
            self.ctx.tracker.log(metrics, step)
            for warning in self.health.observe(row):
                self.ctx.say(warning)
        if not may_save:
            return
        stopping = self.ctx.world.any(self.ctx.stop.requested)
        if stopping or step - self.last_saved >= self.save_every or step == self.steps:
            self.last_saved = step
            self.saved.save_state(step, self.engine, self.memory.state_dict() if self.memory else {})
        if stopping:
            raise Stopped


class Stopwatch:
    """Times the parts of a step."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, part: str, tokens: int = 0) -> dict[str, float]:
        """Seconds since the last lap as `time/<part>`; over all laps so far, tokens a second if there are tokens."""
        now = time.perf_counter()
        self._laps[part] = now - self._last
        self._last = now
        speed = {"time/tokens_per_second": tokens / sum(self._laps.values())} if tokens else {}
        return {f"time/{name}": seconds for name, seconds in self._laps.items()} | speed
