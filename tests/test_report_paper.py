"""The paper's numbers: how they are read, and how they stand beside ours."""

from pathlib import Path

import pytest

import synthetic_sweep
from budgetrl.core.errors import RequestError
from budgetrl.report.comparison import write_comparison
from budgetrl.report.formats import Table, to_latex, to_markdown
from budgetrl.report.paper import read_paper

PAPER = """\
model,dataset,metric,value,certainty,source
SelfBudgeter-1.5B,mini,accuracy,84.10,high,main table
SelfBudgeter-1.5B,mini,length,1231.79,medium,main table
R1_Distill,gsm8k,accuracy,73.09,high,main table
"""


def test_the_papers_numbers_stand_below_ours_with_their_certainty(tmp_path: Path) -> None:
    (tmp_path / "paper.csv").write_text(PAPER)
    sweep = synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4,), seeds=(1,))
    report = write_comparison(sorted(sweep.iterdir()), tmp_path, paper=tmp_path / "paper.csv").read_text()
    assert "## Results: mini" in report
    assert "| all runs | 1 | 87.0 ± 2.0 | 61.0 |\n| paper: SelfBudgeter-1.5B |  | 84.10 | 1231.79 (medium) |" in report
    assert "## Results: gsm8k\n\n|  | runs | accuracy, % |\n| --- | ---: | ---: |\n| paper: R1_Distill |" in report


def test_what_is_said_of_a_papers_number_stands_behind_it(tmp_path: Path) -> None:
    (tmp_path / "paper.csv").write_text(
        "model,dataset,metric,value,certainty,remark\n"
        "A,mini,match_50,65.35,medium,at most\n"
        "A,mini,compression,74.47,high,up to 10 % more_or_less\n"
    )
    table = Table("mini", ("",), (*read_paper(tmp_path / "paper.csv")["mini"].values(),))
    assert "| 74.47 (up to 10 % more_or_less) | 65.35 (at most; medium) |" in to_markdown(table)
    assert r"& 74.47 (up to 10 \% more\_or\_less) & 65.35 (at most; medium) \\" in to_latex(table)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,dataset,metric,value\n", "line 1: column certainty is missing"),
        (PAPER.replace("84.10", "84,10"), "line 2: certainty '10' must be one of high, medium, low"),
        (PAPER.replace("84.10", "many"), "line 2: value 'many' is not a number"),
        (PAPER.replace("84.10", "nan"), "line 2: value 'nan' is not a number"),
        ("model,dataset,metric,certainty,value\nM,mini,accuracy,high\n", "line 2: value '' is not a number"),
        (PAPER.replace("length", "size"), "line 3: unknown metric 'size'; use one of accuracy,"),
    ],
)
def test_what_is_wrong_in_the_papers_numbers_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "paper.csv").write_text(text)
    with pytest.raises(RequestError, match=said):
        read_paper(tmp_path / "paper.csv")


def test_a_spreadsheets_csv_is_read_or_refused_for_its_encoding(tmp_path: Path) -> None:
    path = tmp_path / "paper.csv"
    path.write_bytes(PAPER.encode("utf-8-sig"))
    assert read_paper(path)
    path.write_bytes(PAPER.replace("84.10", "84.10\xb1").encode("latin-1"))
    with pytest.raises(RequestError, match="is not UTF-8; save the file as UTF-8"):
        read_paper(path)
