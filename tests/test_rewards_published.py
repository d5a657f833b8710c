"""Published rewards, from the command line to the file that `stage=score` writes: values worked out by hand."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from alone import context
from budgetrl.cli import main as entry
from budgetrl.runs.folder import RunFolder, read_rows
from budgetrl.settings.config import Config
from budgetrl.stages import score as scoring

Row = dict[str, Any]


@pytest.fixture
def score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Row]]:
    """Scores the rows of one problem as a command line asks for, with the rank in this process."""
    monkeypatch.chdir(tmp_path)

    def launch(config: Config, folder: RunFolder) -> int:
        scoring.run(config.stage, config, context(folder.path))
        return 0

    def call(rows: Sequence[Row], *words: str) -> list[Row]:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = ["budgetrl", "stage=score", "stage.input=rows.jsonl", "tracking=none", "run.dir=run", *words]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert caught.value.code == 0
        return read_rows(Path("run/scores.jsonl"))

    monkeypatch.setattr(entry, "launch", launch)
    return call


def rows(correct: Sequence[int], lengths: Sequence[int], **more: Any) -> list[Row]:
    return [
        {"problem_id": "p", "well_formed": True, "correct": bool(c), "length": length, **more}
        for c, length in zip(correct, lengths, strict=True)
    ]


SOLVED = rows([1] * 6 + [0] * 2, [1000, 3000, *[500] * 4, 1000, 3000])
"""Six of eight right, of 1000 tokens on average."""

VECTORS = [
    ("aalc", ["reward.validation_accuracy=0.99"], rows([1], [512]), [0.9010007237]),
    ("aalc", ["reward.validation_accuracy=1"], rows([1, 0], [512, 512]), [0.9000005, 5e-7]),
    ("aalc", ["reward.validation_accuracy=0.7"], rows([1], [512]), [0.930001]),
    ("aalc", [], rows([1, 0], [512, 512]), [1.0, 0.0]),
    ("ser_rl", [], rows([1, 1, 1, 0], [100, 150, 300, 50]), [1.5, 1.375, 1.0, 0.0]),
    ("adactrl", [], rows([1, 1], [1000, 4000], easy=True), [1.926777, 1.5]),
    ("adactrl", [], rows([1, 0], [1000, 4000], easy=False), [1.5, -0.5]),
    ("dast", [], SOLVED, [0.718151, 0.154453, *[0.8590755] * 4, -0.492672, -0.1]),
    ("dast", [], rows([0, 0], [2048, 4096]), [-0.55, -0.1]),
    ("l1_exact", [], rows([1, 0], [1500, 900], budget=1000), [0.85, -0.03]),
    ("l1_max", [], rows([1, 0], [1500, 900], budget=1000), [0.35, 0.0]),
    ("l1_max", ["reward.form=code"], rows([1, 0], [1500, 900], budget=1000), [0.425, 0.0]),
    ("thinkprune", ["stage.progress=0"], rows([1, 1, 0], [4000, 4001, 10]), [1.0, 0.0, 0.0]),
    ("thinkprune", ["stage.progress=0.5"], rows([1, 1], [3000, 3001]), [1.0, 0.0]),
    ("thinkprune", ["reward.limits=[500,90]"], rows([1, 1], [90, 91]), [1.0, 0.0]),
    ("kimi", ["reward.weight=1"], rows([1, 0, 1, 0], [1000, 2000, 3000, 4000]), [1.5, 0.0, 0.833333, -0.5]),
    ("kimi", ["stage.progress=0.2"], rows([1, 0, 1, 0], [1000, 2000, 3000, 4000]), [1.0, 0.0, 1.0, 0.0]),
    ("overlong", [], rows([1] * 4, [16000, 18432, 20480, 21000]), [1.0, 0.5, 0.0, 0.0]),
    ("overlong", [], rows([0] * 4, [16000, 18432, 20480, 21000]), [-1.0, -1.5, -2.0, -2.0]),
]


@pytest.mark.parametrize(("reward", "words", "group", "rewards"), VECTORS)
def test_vectors(
    score: Callable[..., list[Row]], reward: str, words: list[str], group: list[Row], rewards: list[float]
) -> None:
    scored = score(group, f"reward={reward}", *words)
    assert [row["reward"] for row in scored] == pytest.approx(rewards, abs=6e-7 if reward != "aalc" else 1e-10)
