"""What changed since another evaluation of the same problems, paired by problem."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.grading.rows import outcomes_by_problem, unprefilled_rows
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import compare
from budgetrl.report.comparable import MUST_AGREE
from budgetrl.report.reading import evaluation_errors
from budgetrl.runs.folder import HASHES, Row, read_rows

RowsBySet = Mapping[str, Sequence[Row]]
_FAULTS = {
    "problems": "measured other problems of {name}; evaluate both on the same, or set stage.against=null",
    "sampling": "sampled {name} with another temperature, token limit or number of samples; evaluate both alike",
    "measure": "counted tokens of {name} by another model.length or tokenizer, or did not say; evaluate both alike",
    "grader": "graded {name} with another version of the grader; grade it again with "
    "stage=regrade stage.evaluation={folder}, and name the folder of that",
}


@dataclass(frozen=True)
class EarlierEvaluation:
    """A finished evaluation that a new one is to be compared with."""

    folder: Path
    rows: RowsBySet
    """Completions with budgets of the model's own, by data set."""
    hashes: Mapping[str, Mapping[str, str]]

    @staticmethod
    def read(folder: Path) -> "EarlierEvaluation":
        """Raises RequestError where the folder holds no finished evaluation."""
        if missing := evaluation_errors("stage.against", folder):
            raise RequestError(*missing)
        hashes = json.loads((folder / HASHES).read_text())
        return EarlierEvaluation(folder, unprefilled_rows(read_rows(folder / "completions.jsonl")), hashes)

    def require_comparable(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        """Raises RequestError for a data set that was not measured here, or not as `hashes` say it now is."""
        for name, ours in hashes.items():
            if name not in self.hashes:
                measured = ", ".join(self.hashes)
                raise RequestError(
                    f"stage.against: {self.folder} has no data set {name}, only {measured}; evaluate it on {name} too"
                )
            for key in MUST_AGREE:
                if self.hashes[name].get(key) != ours.get(key):
                    fault = _FAULTS[key].format(name=name, folder=self.folder)
                    raise RequestError(f"stage.against: {self.folder} {fault}")


def changes(before: RowsBySet, after: RowsBySet) -> Results:
    """The compression, the change of accuracy and so on of each data set (see `compare`).

    ValueError if a data set's problems are not the same in both.
    """
    changed = Results()
    for name in after:
        changed |= compare(outcomes_by_problem(before[name]), outcomes_by_problem(after[name])).labeled(name)
    return changed
