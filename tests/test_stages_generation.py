"""What the stages that write completions share."""

from pathlib import Path

import pytest
import torch

from budgetrl.budget.errors import RequestError
from budgetrl.data.problems import DatasetSpec
from budgetrl.run.folder import RunFolder
from budgetrl.run.progress import Progress
from budgetrl.run.stop import Stop
from budgetrl.run.tracking import Tracker
from budgetrl.stages.base import Context
from budgetrl.stages.generation import problems_of
from budgetrl.training.distributed import World
from budgetrl.verify.pool import Verifier


def test_a_data_file_that_was_edited_is_refused_when_the_run_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    spec = DatasetSpec(name="mine", source="jsonl", path=str(data), held_out=1)

    def load(*answers: int) -> list[str]:
        rows = [f'{{"problem": "How much is {i} and {i}?", "answer": "{n}"}}\n' for i, n in enumerate(answers)]
        data.write_text("".join(rows))
        folder = RunFolder(tmp_path / "run")
        ctx = Context(World(0, 1, torch.device("cpu")), folder, Tracker(), Progress(shown=False), Stop())
        return [problem.answer for problem in problems_of(spec, "train", None, Verifier(), ctx)]

    first = load(0, 2, 4)
    assert len(first) == 2
    assert load(0, 2, 4) == first
    with pytest.raises(RequestError, match="dataset: the train problems of mine are not those"):
        load(1, 3, 5)
