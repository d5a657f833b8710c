"""Writes run folders as the stages do, with made-up numbers that look like those of a real run.

`python tests/synthetic_run.py <folder>` writes a pipeline run to look at.
"""

import json
import math
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from budgetrl.core.records import Outcome
from budgetrl.formats.learned import LearnedFormat, write_learned_format
from budgetrl.formats.registry import make_format
from budgetrl.metrics.summary import compare, summarize
from budgetrl.runs.parts import INITIAL, TRAINED

LEVELS = (2, 3, 4, 6, 8, 12, 16)
PREFILLS = (14, 24, 36, 56, 80, 128, 192, 288)
DATASET = "mini"
CONFIG = """\
seed: 0
stage: {name: %s, steps: 180, prompts_per_step: 16, group_size: 8, tokens_per_device: 16384, samples: 4}
model: {name: mini, path: null, max_new_tokens: 420}
dataset: {name: mini, path: null}
reward: {name: budget_cosine, r_b: -0.4, r_f: -1.0, alpha_start: 1.0, alpha_end: 0.1}
algorithm: {name: grpo, lr: 3.0e-04, kl_coefficient: 0.0}
objective: {name: supervised}
rollout: {name: native, batch_size: 128}
zero: {name: stage0, stage: 0}
launch: {name: local, ranks: 1}
tracking: {name: none}
"""


def pipeline_run(path: Path, problems: int = 140, samples: int = 4, steps: int = 180) -> Path:
    """A finished pipeline: initial model, GRPO, trained model with pre-filled budgets as well."""
    initial = _evaluation(path / "initial", problems, samples, trained=False)
    trained = _evaluation(path / "trained", problems, samples, trained=True)
    _common(
        path / "cold_start",
        "cold_start",
        {"sampled": 2800.0, "kept": 0.951, "format": 0.905, "match_50": 0.87},
    )
    _common(path / "label", "label", {"problems": 1600.0, "finite": 0.955, "b_max": 140.2})
    grpo_run(path / "grpo", steps)
    result = summarize(initial).labeled(DATASET, INITIAL) | summarize(trained).labeled(DATASET, TRAINED)
    _common(path, "pipeline", (result | compare(initial, trained).labeled(DATASET)).flat())
    return path


def grpo_run(path: Path, steps: int = 180) -> Path:
    """A finished GRPO run with its checkpoints."""
    rows = [_training_row(step, steps) for step in range(1, steps + 1)]
    _common(path, "grpo", {"mini/accuracy": 0.96, "mini/accuracy_se": 0.006, "mini/length": 38.0})
    _jsonl(path / "metrics.jsonl", rows)
    draws = random.Random(1)
    samples = [_completion(draws, i, trained=i > 20) | {"step": 4 * i + 1, "reward": 0.5} for i in range(40)]
    _jsonl(path / "completions.jsonl", samples)
    for name in ("best", "last"):
        checkpoint = path / "checkpoints" / name
        checkpoint.mkdir(parents=True)
        write_learned_format(checkpoint, LearnedFormat(make_format("budget", {}), length="body"))
    return path


def evaluate_run(path: Path, problems: int = 70, samples: int = 2) -> Path:
    """A finished evaluation."""
    _evaluation(path, problems, samples, trained=True)
    return path


def _evaluation(path: Path, problems: int, samples: int, trained: bool) -> list[list[Outcome]]:
    draws = random.Random(trained)
    rows = [_completion(draws, p, trained) | {"sample": s} for p in range(problems) for s in range(samples)]
    groups = [[_outcome(row) for row in rows[p * samples : (p + 1) * samples]] for p in range(problems)]
    if trained:
        rows += [_completion(draws, p, True, n) | {"sample": 0} for p in range(problems) for n in PREFILLS]
    _common(path, "evaluate", summarize(groups).labeled(DATASET).flat())
    _jsonl(path / "completions.jsonl", rows)
    return groups


def _completion(draws: random.Random, number: int, trained: bool, prefilled: int | None = None) -> dict[str, Any]:
    level = LEVELS[number % len(LEVELS)]
    one_pass = 4 * level + 3
    passes = _passes(draws, one_pass, trained, prefilled)
    length = one_pass * passes + 2 + draws.randint(0, level // 3)
    budget = prefilled or max(8, round(length * draws.gauss(1.03, 0.1)))
    correct = draws.random() < 0.985 - 0.006 * level
    body = f"plan {passes} " + " ".join(f"{chr(97 + i)} {i % 6 + 1} = {i + 1}" for i in range(level)) * passes
    text = f"<budget>{budget}</budget><solution>{body} \\boxed{{ {level} }}</solution>" if trained else body
    return {
        "dataset": DATASET,
        "problem_id": f"mini-{number}",
        "level": level,
        "problem": " ".join(f"{chr(97 + i)} {i % 6 + 1}" for i in range(level)) + " ?",
        "answer": str(level),
        "text": text,
        "well_formed": not trained or draws.random() < 0.996,
        "correct": correct,
        "budget": budget if trained else None,
        "prefilled": prefilled,
        "length": length,
        "thinking_length": None,
        "truncated": False,
        "b_max": None,
    }


def _passes(draws: random.Random, one_pass: int, trained: bool, prefilled: int | None) -> int:
    if prefilled is not None:
        return max(1, min(7, round(prefilled / one_pass)))
    return draws.choices((1, 2), (9, 1))[0] if trained else draws.choices((2, 3, 4, 6), (3, 2, 2, 2))[0]


def _outcome(row: Mapping[str, Any]) -> Outcome:
    return Outcome(
        well_formed=row["well_formed"],
        correct=row["correct"],
        length=row["length"],
        budget=row["budget"],
        level=row["level"],
        problem_id=row["problem_id"],
    )


def _training_row(step: int, steps: int) -> dict[str, Any]:
    draws = random.Random(step)
    progress = (step - 1) / (steps - 1)
    fall = 1 / (1 + math.exp(-12 * (progress - 0.45)))
    length = 142 - 104 * fall + draws.gauss(0, 6)
    match = 0.85 - 0.5 * math.exp(-(((progress - 0.4) / 0.12) ** 2)) + 0.14 * progress
    row = {
        "step": step,
        "loss": draws.gauss(0, 0.02),
        "reward": 0.35 + 0.4 * fall + draws.gauss(0, 0.03),
        "reward/budget_penalty": -0.15 + 0.12 * fall,
        "reward/preciseness": 0.5 + 0.28 * fall + draws.gauss(0, 0.03),
        "accuracy": min(1.0, 0.91 + 0.05 * progress + draws.gauss(0, 0.015)),
        "format": min(1.0, 0.91 + 0.09 * progress**0.3),
        "length": length,
        "budget": length * (1.25 - 0.22 * fall) + draws.gauss(0, 4),
        "match_50": min(1.0, match + 0.1),
        "match_25": match,
        "match_10": 0.6 * match,
        "alpha": max(0.1, 1.0 - 0.9 * progress / 0.65),
        "lr": 3e-4,
        "entropy": 0.16 - 0.1 * fall,
        "budget_entropy": 3.2 - 3.0 * fall + draws.gauss(0, 0.05),
        "budget_level_rho": 0.69 - 0.3 * math.exp(-(((progress - 0.4) / 0.12) ** 2)) + 0.2 * fall,
        "grad_norm": 0.4,
        "groups_equal": 0.02 + 0.2 * fall,
        "truncated": 0.01,
        "time/tokens_per_second": 20_000.0,
    }
    if step % 45 == 0:
        accuracy = {"eval/mini/accuracy": 0.94 + 0.02 * progress, "eval/mini/accuracy_se": 0.012}
        row |= accuracy | {"eval/mini/length": length, "eval/mini/length_se": 3.0}
    return row


def _common(path: Path, stage: str, result: Mapping[str, float]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(CONFIG % stage)
    (path / "launch.sh").write_text("#!/bin/sh\nexec python -m budgetrl stage=pipeline seed=0\n")
    (path / "result.json").write_text(json.dumps(dict(result)))


def _jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    pipeline_run(Path(sys.argv[1]))
