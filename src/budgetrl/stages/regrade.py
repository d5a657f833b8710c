"""Grade the completions of a finished evaluation anew, without a model."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from budgetrl.formats.formats import AUTO, ResponseFormat
from budgetrl.grading.verifier import Verifier
from budgetrl.report.comparable import HASHES
from budgetrl.report.reading import read_configuration, read_run
from budgetrl.stages.against import no_evaluation
from budgetrl.stages.base import Job, chosen_format
from budgetrl.stages.provenance import Hashes, grader_hash
from budgetrl.stages.rows import Row, verdict_columns

if TYPE_CHECKING:
    from budgetrl.stages.evaluate import Evaluate

WRITTEN_BY = ("format", "datasets", "problems", "samples", "temperature", "max_new_tokens")
"""Keys of the stage that decide what is written; the others only say what is made of it."""
GIVEN_BY = ("budgets", "budget_problems")
"""The same where the format has a budget to give. A pipeline ignores them where it has none."""


def regrade_faults(stage: "Evaluate", job: Job) -> list[str]:
    """Why the completions in the folder `stage.regrade` are not those that the other settings describe."""
    folder = Path(str(stage.regrade))
    if missing := _missing(folder):
        return [no_evaluation("stage.regrade", folder / missing)]
    then, now = (_said(config, stage, job) for config in (read_configuration(folder), _mapping(stage, job)))
    changed = [f"{key}={then.get(key)}, not {now[key]}" for key in now if then.get(key) != now[key]]
    if not changed:
        return []
    return [
        f"stage.regrade: {folder} was written with {', and '.join(changed)}; "
        "give the settings of that run, and stage.regrade with them"
    ]


def _missing(folder: Path) -> str | None:
    """What a finished evaluation has and this folder has not, if anything."""
    if not read_configuration(folder):
        return "config.yaml"
    return next((name for name in ("completions.jsonl", HASHES) if not (folder / name).exists()), None)


def _mapping(stage: "Evaluate", job: Job) -> Mapping[str, Any]:
    return json.loads(json.dumps({**asdict(job), "stage": asdict(stage)}))


def _said(config: Mapping[str, Any], stage: "Evaluate", job: Job) -> dict[str, Any]:
    """The settings that decide what is written, by dotted key."""
    said: dict[str, Any] = {"seed": config.get("seed")}
    keys = WRITTEN_BY if chosen_format(stage.format, job).budget_in is None else (*WRITTEN_BY, *GIVEN_BY)
    said |= {f"stage.{key}": config.get("stage", {}).get(key) for key in keys}
    said |= {f"model.{key}": value for key, value in config.get("model", {}).items()}
    sets = "eval_datasets" if config.get("eval_datasets") else "dataset"
    said[sets] = config.get(sets)
    if stage.format == AUTO:
        said["reward.name"] = config.get("reward", {}).get("name")
    return said


def regraded(folder: Path, fmt: ResponseFormat, verifier: Verifier) -> tuple[list[Row], dict[str, Hashes]]:
    """The rows of an evaluation with verdicts of today's grader, and the hashes they now have.

    What was measured in tokens stays, since it needs the tokens; a row's gold answer is its own.
    """
    rows = list(read_run(folder).completions)
    graded = verifier.grade([(row["answer"], fmt.parse(row["text"]).body(row["text"])) for row in rows])
    anew = [{**row, **verdict_columns(verdict, row["truncated"])} for row, verdict in zip(rows, graded, strict=True)]
    hashes: dict[str, Hashes] = json.loads((folder / HASHES).read_text())
    return anew, {name: {**one, "grader": grader_hash()} for name, one in hashes.items()}
