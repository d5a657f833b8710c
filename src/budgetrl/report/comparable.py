"""A warning where numbers side by side were not made alike."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from budgetrl.report import tables
from budgetrl.report.reading import Run
from budgetrl.report.sections import Part, Section

HASHES = "hashes.json"
"""What the evaluation leaves beside its result: hashes of prompts, sampling and grader."""
MEANING = {
    "prompt": "problems, template or instructions",
    "sampling": "temperature, token limit or samples of a problem",
    "grader": "the code or packages that read and compare answers",
}


def not_comparable(runs: Mapping[str, Run]) -> Iterator[Part]:
    """A section that says what the evaluations of these runs do not share; nothing where they share all."""
    found = {name: hashes for name, run in runs.items() if (hashes := _hashes(run))}
    varying = [key for key in MEANING if len({hashes.get(key) for hashes in found.values()}) > 1]
    if not varying:
        return
    said = "\n".join(f"- `{key}` ({MEANING[key]})" for key in varying)
    rows = [[name, *(f"`{hashes.get(key)}`" for key in varying)] for name, hashes in found.items()]
    table = tables.markdown(["run", *varying], rows, numbers=False)
    text = f"Numbers of runs whose hashes differ are not of the same measurement. Here they differ in\n\n{said}"
    yield Section("Compare with care", f"{text}\n\n{table}")


def _hashes(run: Run) -> dict[str, str]:
    """Of the evaluation that a run is judged by: a pipeline's is that of its trained model."""
    path: Path = run.path / ("trained" if run.stage == "pipeline" else ".") / HASHES
    return json.loads(path.read_text()) if path.exists() else {}
