"""Whether runs may be compared: decided from the hashes that evaluations write beside their results."""

import json
from collections.abc import Iterable, Mapping, Sequence

from budgetrl.report import tables
from budgetrl.report.reading import Run
from budgetrl.runs.folder import HASHES

MUST_MATCH = {
    "problems": "the problems or their gold answers",
    "sampling": "the temperature, the token limit, the number of samples per problem, or the decoding method",
    "measure": "which tokens count as length (`model.length`), or the tokenizer",
    "grader": "the version of the grader, or of the packages it uses to compare answers",
}
"""Hashes that must be equal for two numbers to be comparable, and what each covers."""
MAY_DIFFER = {"prompt": "the chat template or the instructions; expected if the response formats differ"}
"""Hashes that are reported if they differ, but do not rule out a comparison."""
UNKNOWN = "not known"


def are_comparable(runs: Iterable[Run], dataset: str) -> bool:
    """Return whether the numbers of these runs may be ranked.

    Runs without hashes are comparable only with each other.
    """
    return not _differing_keys([_hashes(run, dataset) for run in runs], MUST_MATCH)


def comparability_note(runs: Mapping[str, Run], dataset: str) -> str:
    """Return the note below a table of these runs that says how their measurements differ; empty if they do not."""
    hashes_by_run = {name: _hashes(run, dataset) for name, run in runs.items()}
    if not any(hashes_by_run.values()):
        return f"Whether these runs are comparable is {UNKNOWN}: they have no {HASHES}."
    hashes = list(hashes_by_run.values())
    conflicts = _differing_keys(hashes, MUST_MATCH)
    permitted = _differing_keys(hashes, MAY_DIFFER)
    if not conflicts and not permitted:
        return ""
    if not conflicts:
        return f"These runs are comparable, but they differ in:\n{_bullets(permitted, MAY_DIFFER)}"
    bullets = _bullets(conflicts, MUST_MATCH) + _bullets(permitted, MAY_DIFFER)
    table = _hash_table(hashes_by_run, conflicts + permitted)
    return f"**Not ranked**: these runs are not comparable. They differ in:\n{bullets}\n\n{table}"


def _bullets(keys: Iterable[str], meanings: Mapping[str, str]) -> str:
    """Return a Markdown list with an item for each key."""
    return "".join(f"\n- `{key}`: {meanings[key]}" for key in keys)


def _differing_keys(hashes: Sequence[Mapping[str, str]], keys: Iterable[str]) -> list[str]:
    """Return those of `keys` in which the hashes are not all equal. A missing hash is a value of its own."""
    differing = []
    for key in keys:
        values = {run_hashes.get(key) for run_hashes in hashes}
        if len(values) > 1:
            differing.append(key)
    return differing


def _hash_table(hashes_by_run: Mapping[str, Mapping[str, str]], keys: Sequence[str]) -> str:
    """Return a Markdown table with a row for each combination of hashes, and the runs that have it."""
    runs: dict[tuple[str, ...], list[str]] = {}
    for name, hashes in hashes_by_run.items():
        values = tuple(hashes.get(key, UNKNOWN) for key in keys)
        runs.setdefault(values, []).append(name)
    rows: list[list[str]] = []
    for values, names in runs.items():
        rows.append([*values, ", ".join(names)])
    return tables.markdown([*keys, "runs"], rows, numbers=False)


def _hashes(run: Run, dataset: str) -> Mapping[str, str]:
    """Return the hashes of a data set in the run's final evaluation; empty if there are none."""
    path = run.path / HASHES
    if not path.exists():
        return {}
    # A pipeline keeps the hashes of both evaluations under keys such as "trained/mini"; other runs use "mini".
    key = f"{run.evaluation}/{dataset}" if run.evaluation else dataset
    return json.loads(path.read_text()).get(key, {})
