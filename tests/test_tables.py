"""The rows of experiments and the paper's tables from them: what is trained, what is not again, what is written."""

import csv
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import synthetic_run
from budgetrl.cli.request import read_request
from budgetrl.core.errors import RequestError
from budgetrl.report.paper import read_paper

Make = Callable[..., subprocess.CompletedProcess[str]]
SCALES = ("mini", "1_5b", "7b")
ROWS = """\
common: [tracking=none, launch.ranks=1, launch.threads=1, dataset.size=28, dataset.eval_size=14]
rows:
  base: [stage=pipeline, stage.steps=2, stage.prompts_per_step=2, stage.group_size=4, stage.eval_every=0,
         stage.cold_start.problems=7, stage.cold_start.steps=1, stage.cold_start.check_problems=0,
         stage.label.problems=7, stage.grpo.problems=7, stage.grpo.eval_problems=7,
         "stage.evaluate.budgets=[24,80]", stage.evaluate.budget_problems=7]
  unseen: [stage=evaluate, "model.path={base}/grpo/checkpoints/last", "dataset.levels=[5,7]"]
  unused: [stage=evaluate]
"""
PAPER = "model,dataset,metric,value,certainty,remark\nTheirs,gsm8k,accuracy,84.1,medium,\n"


@pytest.fixture(scope="module")
def scripts(repo: Path) -> tuple[ModuleType, ModuleType]:
    """`run` and `tables` of experiments/, which are no package."""
    sys.path.insert(0, str(repo / "experiments"))
    try:
        return importlib.import_module("run"), importlib.import_module("tables")
    finally:
        sys.path.remove(str(repo / "experiments"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with experiments of two scales and one table with a figure."""
    files = {
        "tiny/rows.yaml": ROWS,
        "large/rows.yaml": "like: tiny\ncommon: [model=large]\nrows: {unused: [seed=7]}\n",
        "table_both/table.yaml": "title: Both\nrows: [unseen, base]\nfigure: length_control\nlarge: [unused]\n",
        "table_both/paper.csv": PAPER,
    }
    for name, text in files.items():
        (tmp_path / "experiments" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "experiments" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(repo: Path, here: Path) -> Make:
    """Runs tables.py in `here`."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, repo / "experiments" / "tables.py", *arguments]
        environment = os.environ | {"PYTHONPATH": str(repo / "src")}
        return subprocess.run(command, cwd=here, env=environment, text=True, capture_output=True)

    return call


def test_a_row_names_the_run_that_it_starts_from(scripts: tuple[ModuleType, ModuleType], here: Path) -> None:
    experiment = scripts[0].read_experiment(Path("experiments/tiny"))
    assert experiment.with_needs(["unseen"]) == ["base", "unseen"]
    assert experiment.with_needs(["unseen", "base", "unused"]) == ["base", "unseen", "unused"]
    base, unseen = scripts[0].make_jobs(experiment, ["unseen"], [3])
    assert (base.needs, unseen.needs) == ([], [base])
    assert unseen.log == Path("runs/tiny/unseen-s3/output.log")
    assert unseen.command[-1] == "run.dir=runs/tiny/unseen-s3"
    command = experiment.command("unseen", 3)
    assert command[:2] == ["tracking=none", "launch.ranks=1"]
    assert "model.path=runs/tiny/base-s3/grpo/checkpoints/last" in command
    assert command[-1] == "seed=3"


def test_a_row_of_another_stage_takes_no_keys_of_the_common_one(scripts: tuple[ModuleType, ModuleType]) -> None:
    rows = {"trained": ["reward=kimi"], "asked": ["stage=evaluate"], "exam": ["experiment=exam"]}
    experiment = scripts[0].Experiment("x", ["stage=pipeline", "stage.shared=common", "tracking=none"], rows)
    assert experiment.command("trained", 0)[:3] == ["stage=pipeline", "stage.shared=common", "tracking=none"]
    for row in ("asked", "exam"):
        assert experiment.command(row, 0) == ["stage=pipeline", "tracking=none", *rows[row], "seed=0"]


def test_a_scale_takes_the_rows_of_another(scripts: tuple[ModuleType, ModuleType], here: Path) -> None:
    run, tables = scripts
    large = run.read_experiment(Path("experiments/large"))
    assert list(large.rows) == ["base", "unseen", "unused"]
    assert large.command("unused", 0) == ["model=large", "seed=7", "seed=0"]
    assert large.folder("base", 1) == Path("runs/large/base-s1")
    assert tables.read_table("table-both", "tiny").rows == ["unseen", "base"]
    assert tables.read_table("table-both", "large").rows == ["unseen", "base", "unused"]


def test_an_unknown_row_scale_or_table_is_refused(scripts: tuple[ModuleType, ModuleType], here: Path) -> None:
    run, tables = scripts
    with pytest.raises(RequestError, match=r"experiments/tiny: there is no row bse; there are base, unseen, unused"):
        run.read_experiment(Path("experiments/tiny")).with_needs(["bse"])
    with pytest.raises(RequestError, match=r"no experiments/huge/rows.yaml; experiments with rows are large, tiny"):
        run.read_experiment(Path("experiments/huge"))
    with pytest.raises(RequestError, match=r"there is no table or figure table-bth; there are table-both"):
        tables.read_table("table-bth", "tiny")


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_has_the_rows_of_every_table(
    scripts: tuple[ModuleType, ModuleType], repo: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    monkeypatch.chdir(repo)
    run, tables = scripts
    experiment = run.read_experiment(Path("experiments") / scale)
    for target in tables.all_targets():
        table = tables.read_table(target, scale)
        assert experiment.with_needs(table.rows)
        assert table.figure is None or table.figure in tables.FIGURES
        read_paper(table.paper)
        assert f"\n{target}: install ## " in (repo / "Makefile").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_every_row_of_a_table_composes(
    scripts: tuple[ModuleType, ModuleType], repo: Path, monkeypatch: pytest.MonkeyPatch, scale: str
) -> None:
    monkeypatch.chdir(repo)
    run, tables = scripts
    experiment = run.read_experiment(Path("experiments") / scale)
    rows = {row for target in tables.all_targets() for row in tables.read_table(target, scale).rows}
    for row in experiment.with_needs(rows):
        read_request([*experiment.command(row, 0), "mode=dry"])  # some start from runs that are not made


def test_the_report_has_rows_in_their_order_and_says_what_is_missing(
    scripts: tuple[ModuleType, ModuleType], here: Path
) -> None:
    run, tables = scripts
    synthetic_run.evaluate_run(Path("runs/tiny/unseen-s0"))
    for seed in (0, 1):
        synthetic_run.pipeline_run(Path(f"runs/tiny/base-s{seed}"), problems=14, samples=2, steps=3)
    experiment = run.read_experiment(Path("experiments/tiny"))
    out = tables.write_table(tables.read_table("table-both", "tiny"), experiment, [0, 1])
    rows = [row for row in csv.DictReader(out.with_suffix(".csv").read_text().splitlines()) if row["dataset"] == "mini"]
    assert [(row["folder"], row["runs"]) for row in rows] == [("unseen", "1"), ("base", "2")]
    assert "- unseen: not finished with seeds 1." in out.read_text()
    assert "paper: Theirs |  | 84.1 (medium)" in out.read_text()
    assert (out.parent / "figures" / "table_both_mini.pdf").is_file()
    assert (out.parent / "figures" / "table_both_mini.png").is_file()


def test_budgets_in_training_are_means_over_runs(scripts: tuple[ModuleType, ModuleType]) -> None:
    rows = [{"step": 1, "budget": 10.0, "length": 4.0}, {"step": 2, "budget": 20.0, "length": 8.0}]
    other = [{"step": 1, "budget": 30.0, "length": 6.0}, {"step": 2, "budget": 40.0, "length": 8.0}]
    figures = importlib.import_module("budgetrl.report.figures")
    figure = figures.budgets_in_training({"one": rows + other, "none": [{"step": 1, "length": 3.0}]})
    budget, length = figure.axes
    assert [list(line.get_xydata()[:, 1]) for line in (budget.lines[0], length.lines[0])] == [[20, 30], [5, 8]]
    assert len(budget.lines) == 2
    assert figures.budgets_in_training({"none": [{"step": 1, "length": 3.0}]}) is None


def test_the_cost_of_runs_behind_a_server_counts_tokens_but_no_flop(
    scripts: tuple[ModuleType, ModuleType], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = {"server": {"url": "http://a"}, "tokens": {"generated, at most": 420, "trained on, at most": "not known"}}
    (here / "plan.json").write_text(json.dumps(plan))
    scripts[1].print_cost([here])
    said = capsys.readouterr().out
    assert "tokens generated, at most   420\n" in said
    assert "tokens that depend on the problems, in 1 of the runs" in said
    assert "FLOP, because no model is on this machine" in said


@pytest.mark.slow
def test_a_table_made_twice_trains_once_and_is_the_same_to_the_byte(here: Path, make: Make) -> None:
    first = make("table-both", "--scale", "tiny", "--seeds", "0")
    assert first.returncode == 0, first.stdout + first.stderr
    assert not (here / "runs/tiny/unused-s0").exists()
    runs, written = _files(here / "runs/tiny", "*.jsonl"), _files(here / "runs/tables", "*")
    assert {path.suffix for path in written} == {".md", ".tex", ".csv", ".png", ".pdf"}
    stamps = {path: path.stat().st_mtime_ns for path in runs}
    second = make("table-both", "--scale", "tiny", "--seeds", "0")
    assert second.returncode == 0, second.stdout + second.stderr
    assert _files(here / "runs/tiny", "*.jsonl") == runs
    assert {path: path.stat().st_mtime_ns for path in runs} == stamps
    assert _files(here / "runs/tables", "*") == written
    assert str(here).encode() not in b"".join(written.values())


@pytest.mark.slow
def test_a_plan_starts_nothing_and_says_what_is_left_to_do(here: Path, make: Make) -> None:
    plan = make("table-both", "--scale", "tiny", "--overrides", "mode=dry")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert "runs to make                2" in plan.stdout
    rollouts, evaluations = 2 * 2 * 4, 7 + 14 + (14 + 2 * 7) + 14  # in GRPO, before, after, and the row `unseen`
    cold_start, labels = 7, 7 * 4
    written, learned = 420 * (rollouts + evaluations + cold_start + labels), 420 * rollouts + 4096
    assert f"tokens generated, at most   {written:,}\n" in plan.stdout
    assert f"tokens trained on, at most  {learned:,}\n" in plan.stdout
    flop = (2 * written + 6 * learned) * 158_464
    assert f"FLOP, at most               {flop:.3g}: 2 per parameter" in plan.stdout
    assert "not counted: prompts\n" in plan.stdout
    assert re.search(r"grpo: labels +label/labels\.jsonl\n", plan.stdout)
    assert "sampled from the model first" not in plan.stdout
    assert not list((here / "runs").rglob("metrics.jsonl"))
    assert not (here / "runs/tables").exists()


def _files(folder: Path, pattern: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob(pattern)) if path.is_file()}
