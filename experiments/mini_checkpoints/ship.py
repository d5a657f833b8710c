"""Copy a run's model into the package in float16: `ship.py <run> <family> <base|cold_start|trained>`."""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from budgetrl.data.mini.shipped import CHECKPOINTS
from budgetrl.formats.learned import LEARNED_FILE


def ship(run: Path, family: str, name: str) -> None:
    """Copy `checkpoints/last` of a run to the package, as checkpoint `name` of a family."""
    source, target = run / "checkpoints" / "last", CHECKPOINTS / family / name
    shutil.rmtree(target, ignore_errors=True)
    AutoModelForCausalLM.from_pretrained(source, dtype=torch.float16).save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    shutil.copy(source / LEARNED_FILE, target)
    size = (target / "model.safetensors").stat().st_size
    print(f"{target}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), *sys.argv[2:])
