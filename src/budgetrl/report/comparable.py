"""Whether numbers side by side were made alike, from the hashes that evaluations leave beside their results."""

import json
from collections.abc import Iterable, Mapping

from budgetrl.report import tables
from budgetrl.report.reading import Run
from budgetrl.runs.folder import HASHES

MUST_AGREE = {
    "problems": "the problems, or their gold answers",
    "sampling": "temperature, token limit or samples of a problem",
    "measure": "which tokens count as length (`model.length`), or the tokenizer",
    "grader": "the version of the grader, or of the packages that compare answers",
}
"""Where one of these differs, two numbers are not of the same measurement."""
MAY_DIFFER = {"prompt": "template or instructions, which differ where the formats do"}
UNKNOWN = "not known"


def are_comparable(runs: Iterable[Run], dataset: str) -> bool:
    """Whether numbers of these runs may be ranked. Runs that left no hashes are alike only to each other."""
    return not _varying([_hashes(run, dataset) for run in runs], MUST_AGREE)


def comparability_note(runs: Mapping[str, Run], dataset: str) -> str:
    """What to say below a table of these runs about how far they were not measured alike; empty if they were."""
    found = {name: _hashes(run, dataset) for name, run in runs.items()}
    if not any(found.values()):
        return f"Whether these runs were measured alike is {UNKNOWN}: they left no {HASHES}."
    every = list(found.values())
    unlike = _varying(every, MUST_AGREE)
    asked = _varying(every, MAY_DIFFER)
    told = "".join(f"\n- `{key}`: {MAY_DIFFER[key]}" for key in asked)
    if not unlike:
        return f"Measured alike, but asked in different ways:\n{told}" if asked else ""
    said = "".join(f"\n- `{key}`: {MUST_AGREE[key]}" for key in unlike)
    table = _by_hashes(found, unlike + asked)
    return f"**Not ranked**, since these runs were not measured alike. They differ in\n{said}{told}\n\n{table}"


def _varying(found: list[Mapping[str, str]], keys: Mapping[str, str]) -> list[str]:
    """The keys in which not all hashes agree."""
    varying = []
    for key in keys:
        values = {hashes.get(key) for hashes in found}
        if len(values) > 1:
            varying.append(key)
    return varying


def _by_hashes(found: Mapping[str, Mapping[str, str]], keys: list[str]) -> str:
    """A row for each choice of hashes, with the runs that have it."""
    runs: dict[tuple[str, ...], list[str]] = {}
    for name, hashes in found.items():
        values = tuple(hashes.get(key, UNKNOWN) for key in keys)
        runs.setdefault(values, []).append(name)
    rows = [[*values, ", ".join(names)] for values, names in runs.items()]
    return tables.markdown([*keys, "runs"], rows, numbers=False)


def _hashes(run: Run, dataset: str) -> Mapping[str, str]:
    """The hashes of a data set in the evaluation that a run is judged by; empty where it left none."""
    path = run.path / HASHES
    every = json.loads(path.read_text()) if path.exists() else {}
    # A pipeline keeps the hashes of both of its evaluations.
    key = f"{run.evaluation}/{dataset}" if run.evaluation else dataset
    return every.get(key, {})
