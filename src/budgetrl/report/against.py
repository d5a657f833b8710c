"""Paired comparison of an evaluation with an earlier one on the same problems (`stage.against`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.grading.rows import outcomes_by_problem, unprefilled_rows
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import compare
from budgetrl.report.comparable import MUST_MATCH
from budgetrl.report.reading import evaluation_errors
from budgetrl.runs.folder import HASHES, Row, read_rows

RowsBySet = Mapping[str, Sequence[Row]]
"""Rows of completions.jsonl by the name of their data set."""

# What is wrong and what to do where a hash differs, by the hash's key.
_MISMATCHES = {
    "problems": (
        "measured other problems of {name}",
        "evaluate both on the same problems, or set stage.against=null",
    ),
    "sampling": (
        "sampled {name} with another temperature, token limit, number of samples or decoding method",
        "use the same sampling settings in both",
    ),
    "measure": (
        "counted tokens of {name} with another model.length or tokenizer, or did not record which",
        "use the same model.length and tokenizer in both",
    ),
    "grader": (
        "graded {name} with another version of the grader",
        "regrade it with stage=regrade stage.evaluation={folder}, then name the regraded folder",
    ),
}


@dataclass(frozen=True)
class EarlierEvaluation:
    """A finished evaluation to compare a new one with."""

    folder: Path
    rows: RowsBySet
    """Completions for which the model chose its own budget, by data set."""
    hashes: Mapping[str, Mapping[str, str]]
    """Contents of hashes.json: hashes by data set and key."""

    @staticmethod
    def read(folder: Path) -> "EarlierEvaluation":
        """Read an evaluation from its run folder.

        Raises:
            RequestError: The folder does not hold a finished evaluation.
        """
        if errors := evaluation_errors("stage.against", folder):
            raise RequestError(*errors)
        hashes = json.loads((folder / HASHES).read_text())
        return EarlierEvaluation(folder, unprefilled_rows(read_rows(folder / "completions.jsonl")), hashes)

    def require_comparable(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """Check that this evaluation measured the same thing as a new one with these `hashes`.

        Raises:
            RequestError: A data set was not evaluated here, or was evaluated differently.
        """
        for name, new in hashes.items():
            if name not in self.hashes:
                evaluated = ", ".join(self.hashes)
                text = f"{self.folder} has no data set {name}, only {evaluated}"
                raise RequestError(Message("stage.against", text, f"evaluate it on {name} too"))
            for key in MUST_MATCH:
                if self.hashes[name].get(key) != new.get(key):
                    text, hint = _MISMATCHES[key]
                    text = f"{self.folder} {text.format(name=name)}"
                    raise RequestError(Message("stage.against", text, hint.format(folder=self.folder)))


def changes(before: RowsBySet, after: RowsBySet) -> Results:
    """Return the paired changes (compression, accuracy change and others) of each data set; see `compare`.

    Raises:
        ValueError: A data set does not have the same problems before and after.
    """
    results = Results()
    for name in after:
        results |= compare(outcomes_by_problem(before[name]), outcomes_by_problem(after[name])).labeled(name)
    return results
