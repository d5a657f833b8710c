"""Files that training writes: Hugging Face checkpoints, and engine state to resume from.

`checkpoints/last` and `checkpoints/best` load with transformers alone. `checkpoints/state-<step>` holds the engine's
state. Everything is first written to `partial-*` and renamed when complete, so a run killed at any moment keeps a
complete state: either the old one or the new one.
"""

import json
import os
import re
import shutil
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LearnedFormat
from budgetrl.policy.loading import Policy, save_pretrained
from budgetrl.runs.world import World
from budgetrl.training.engine import ZeroEngine

LAST, BEST = "last", "best"
"""Names of the saved policies: after the last step, and at the highest evaluation reward."""

_STATE = re.compile(r"state-(\d+)")


class Checkpoints:
    """The `checkpoints` folder of a run."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self._world = folder, world

    def latest_step(self) -> int | None:
        """Return the newest step with a complete saved state, or None."""
        steps: list[int] = []
        for path in self.folder.glob("state-*"):
            match = _STATE.fullmatch(path.name)
            if match:
                steps.append(int(match.group(1)))
        return max(steps, default=None)

    def save_state(self, step: int, engine: ZeroEngine, extra: dict) -> None:
        """Save the engine and `extra` (JSON values) as the state after `step`, and delete older states.

        Call on every rank: each writes its own shard.
        """
        partial = self.folder / f"partial-{step}"
        engine.save_state(partial)
        self._world.barrier()  # all shards are written
        if self._world.is_main:
            state = {"step": step, "ranks": self._world.size, "extra": extra}
            (partial / "state.json").write_text(json.dumps(state))
            # The order matters: flush, rename, and only then delete, so that at any moment one state is complete.
            _flush_to_disk(partial)
            older = list(self.folder.glob("state-*"))
            partial.rename(self.folder / f"state-{step}")
            for folder in older:
                shutil.rmtree(folder)
        self._world.barrier()

    def load_state(self, step: int, engine: ZeroEngine) -> dict:
        """Load the state after `step` into the engine and return its JSON part, `{"step", "ranks", "extra"}`.

        Raises:
            RequestError: it was saved by another number of ranks. ZeRO shards the optimizer state by rank.
        """
        folder = self.folder / f"state-{step}"
        state = json.loads((folder / "state.json").read_text())
        if state["ranks"] != self._world.size:
            text = f"{folder} was saved by {state['ranks']} rank(s) and cannot be resumed by {self._world.size}"
            raise RequestError(Message("launch.ranks", text, f"resume with launch.ranks={state['ranks']}"))
        engine.load_state(folder)
        return state

    def save_policy(self, name: str, policy: Policy, engine: ZeroEngine, fmt: ResponseFormat, card: str) -> Path:
        """Write the current weights to `checkpoints/<name>`, a model prompted in format `fmt`. Call on every rank."""
        weights = engine.weights()  # collective, so before the check for the main rank
        target = self.folder / name
        if self._world.is_main:
            fresh = self.folder / f"partial-{name}"
            if fresh.exists():  # left by a run that was killed while saving
                shutil.rmtree(fresh)
            tokenizer, learned = policy.codec.tokenizer_to_save(fmt), LearnedFormat(fmt, policy.codec.settings.length)
            save_pretrained(fresh, policy.model, tokenizer, weights, learned, card)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        self._world.barrier()
        return target


def _flush_to_disk(folder: Path) -> None:
    """Wait until the files are on disk. The older state is about to be deleted, and a power cut could lose both."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
