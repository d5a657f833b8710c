"""What a training run leaves on disk: Hugging Face folders to use, and engine state to resume from.

`checkpoints/last` and `checkpoints/best` load with transformers alone. `checkpoints/state-<step>`
holds the engine; it is written beside and renamed when whole, so a kill at any moment leaves
either the old or the new state.
"""

import json
import os
import re
import shutil
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.learned import LearnedFormat
from budgetrl.policy.loading import Policy, save_pretrained
from budgetrl.runs.world import World
from budgetrl.training.engine import ZeroEngine

LAST, BEST = "last", "best"
"""Names of the policies that are kept: at the end of training, and of the highest reward in an evaluation."""

_STATE = re.compile(r"state-(\d+)")


class Checkpoints:
    """The `checkpoints` folder of a run."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self._world = folder, world

    def latest_step(self) -> int | None:
        """The newest step whose state is whole, or None."""
        found = [_STATE.fullmatch(p.name) for p in self.folder.glob("state-*")]
        return max((int(m.group(1)) for m in found if m), default=None)

    def save_state(self, step: int, engine: ZeroEngine, extra: dict) -> None:
        """Save engine and `extra` (JSON) as the state after `step`; older states go. Call on every rank."""
        partial = self.folder / f"partial-{step}"
        engine.save_state(partial)
        self._world.barrier()
        if self._world.is_main:
            state = {"step": step, "ranks": self._world.size, "extra": extra}
            (partial / "state.json").write_text(json.dumps(state))
            _reach_disk(partial)
            older = list(self.folder.glob("state-*"))
            partial.rename(self.folder / f"state-{step}")
            for folder in older:
                shutil.rmtree(folder)
        self._world.barrier()

    def load_state(self, step: int, engine: ZeroEngine) -> dict:
        """Load the state after `step` into the engine; returns its JSON part.

        Raises RequestError if it was saved by another number of ranks: ZeRO states are cut by rank.
        """
        folder = self.folder / f"state-{step}"
        state = json.loads((folder / "state.json").read_text())
        if state["ranks"] != self._world.size:
            raise RequestError(
                f"launch.ranks: {folder} was saved by {state['ranks']} rank(s) and can be resumed by as many only, "
                f"not by {self._world.size}"
            )
        engine.load_state(folder)
        return state

    def save_policy(self, name: str, policy: Policy, engine: ZeroEngine, fmt: ResponseFormat, card: str) -> Path:
        """Write the weights as they are now to `checkpoints/<name>`, to be asked in the format. Call on every rank."""
        weights = engine.weights()
        target = self.folder / name
        if self._world.is_main:
            fresh = self.folder / f"partial-{name}"
            if fresh.exists():  # a kill left it
                shutil.rmtree(fresh)
            tokenizer, learned = policy.codec.tokenizer_to_save(fmt), LearnedFormat(fmt, policy.codec.spec.length)
            save_pretrained(fresh, policy.model, tokenizer, weights, learned, card)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        self._world.barrier()
        return target


def _reach_disk(folder: Path) -> None:
    """Wait until the files are written for good: the older state, which they replace, is about to go."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
