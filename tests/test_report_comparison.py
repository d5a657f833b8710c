"""Reports over several runs: what is averaged, and what is marked."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import synthetic_run
import synthetic_sweep
from budgetrl.core.errors import RequestError
from budgetrl.core.records import Outcome
from budgetrl.grading.rows import verification_rates
from budgetrl.grading.verifier import Verdict
from budgetrl.metrics.definitions import find
from budgetrl.metrics.length_control import at_cutoffs, budget_area
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import compare, summarize
from budgetrl.report import figures
from budgetrl.report.comparable import are_comparable, comparability_note
from budgetrl.report.comparison import write_comparison
from budgetrl.report.formats import Table, TableRow, to_csv, to_latex, to_markdown
from budgetrl.report.groups import distinguishing_keys, group_runs, pool
from budgetrl.report.reading import Run, read_run
from budgetrl.report.report import write_report
from budgetrl.runs.folder import write_json
from budgetrl.settings.stages.report import Report


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed but not rendered."""
    for name in ("save", "save_pdf"):
        monkeypatch.setattr(figures, name, lambda figure, path: path)


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _run(config: dict[str, Any]) -> Run:
    return Run(Path("run"), config, Results.parse({"mini/accuracy": 0.5}), [], [])


@pytest.mark.usefixtures("undrawn")
def test_a_row_is_the_mean_over_seeds_with_its_error(tmp_path: Path) -> None:
    sweep = synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4, 0.0), seeds=(1, 2, 6))
    write_comparison(sorted(sweep.iterdir()), tmp_path / "out", by=["reward.r_b"])
    first, second = _rows(tmp_path / "out" / "report.csv")
    assert (first["dataset"], first["reward.r_b"], first["runs"]) == ("mini", "-0.4", "3")
    assert float(first["length"]) == pytest.approx(100 - 40 + 3)
    assert float(first["length_se"]) == pytest.approx(np.sqrt(7 / 3))  # seeds 1, 2, 6: variance 7
    assert float(first["accuracy"]) == pytest.approx(0.9 - 0.04 + 0.03)
    assert float(first["accuracy_se"]) == pytest.approx(0.01 * np.sqrt(7 / 3), abs=1e-9)
    assert second["reward.r_b"] == "0.0"


@pytest.mark.usefixtures("undrawn")
def test_a_row_of_one_run_has_the_error_over_its_problems(tmp_path: Path) -> None:
    sweep = synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4, 0.0), seeds=(1,))
    write_comparison(sorted(sweep.iterdir()), tmp_path / "out")
    assert [row["accuracy_se"] for row in _rows(tmp_path / "out" / "report.csv")] == ["0.02", "0.02"]


@pytest.mark.usefixtures("undrawn")
def test_what_is_not_named_is_averaged_and_without_names_it_is_what_tells_runs_apart(tmp_path: Path) -> None:
    for width in ("0.5", "1.0"):
        synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4, 0.0), seeds=(1, 2), width=width)
    folders = sorted((tmp_path / "sweep").iterdir())
    runs = [read_run(path) for path in folders]
    assert [(g.values, len(g.runs)) for g in group_runs(runs, ["reward.width"])] == [
        ({"reward.width": 0.5}, 4),
        ({"reward.width": 1.0}, 4),
    ]
    assert [g.label for g in group_runs(runs)] == [
        f"reward.r_b={r_b} reward.width={width}" for r_b in (-0.4, 0.0) for width in (0.5, 1.0)
    ]
    assert group_runs(runs, ["folder"])[0].values == {"folder": "r_b-0.4-w0.5"}
    assert [g.values for g in group_runs(runs, ["reward"])] == [{"reward": "budget_cosine"}]
    with pytest.raises(RequestError, match="stage.by: no run has the key reward.r_d in its configuration"):
        group_runs(runs, ["reward.r_d"])


def test_runs_of_two_models_are_two_rows_and_how_fast_they_ran_tells_none_apart() -> None:
    """`mode` is no part of what a run is; `model.path`, which begins alike, is."""
    runs = [
        _run({"mode": "run", "model": {"path": path}, "rollout": {"batch_size": size}, "seed": 0})
        for path, size in (("a", 1), ("b", 1), ("b", 2))
    ]
    for by in ((), ("model.path",)):
        rows = group_runs(runs, by)
        assert [(row.label, len(row.runs)) for row in rows] == [("model.path=a", 1), ("model.path=b", 2)]


def test_a_number_that_not_all_runs_of_a_row_have_is_left_out() -> None:
    slopes = [Results.parse({"length": 10.0, "length_budget_slope": 0.9}), Results.parse({"length": 14.0})]
    assert pool(slopes).flat() == {"length": 12.0, "length_se": 2.0}
    assert pool(slopes[::-1]).flat() == {"length": 12.0, "length_se": 2.0}


def test_the_interval_of_a_mean_is_over_runs_and_not_the_mean_of_their_ends() -> None:
    ends = {"accuracy_change_se": 0.5, "accuracy_change_low": -9.0, "accuracy_change_high": 9.0}
    pooled = pool([Results.parse({"accuracy_change": value, **ends}) for value in (0.01, 0.02, 0.06)])
    error = 0.01 * np.sqrt(7 / 3)
    low, high = stats.t.interval(0.95, 2, 0.03, error)
    assert pooled.flat() == pytest.approx(
        {"accuracy_change": 0.03, "accuracy_change_se": error, "accuracy_change_low": low, "accuracy_change_high": high}
    )
    (row,) = csv.DictReader(to_csv([Table("mini", ("",), (TableRow(("a",), pooled, 3),))]).splitlines())
    assert float(row["accuracy_change_low"]) == pytest.approx(low)
    assert "length_low" not in row


def test_numbers_are_in_order_before_words_and_the_absent() -> None:
    runs = [_run({"stage": {"x": x}}) for x in (10, "auto", None, 9.5, -1)]
    assert [group.values["stage.x"] for group in group_runs(runs, ["stage.x"])] == [-1, 9.5, 10, None, "auto"]


def test_keys_that_follow_from_another_are_no_columns() -> None:
    configurations = [{"reward.name": "a", "reward.p": 1}, {"reward.name": "b", "reward.q": 2}]
    assert distinguishing_keys(configurations) == ["reward.name"]
    assert distinguishing_keys([{"seed": 1, "x.deep.er": 1, "x.y": 1}, {"seed": 2, "x.deep.er": 2, "x.y": 2}]) == [
        "x.y"
    ]
    assert distinguishing_keys([{"seed": 1}, {"seed": 2}]) == []


@pytest.mark.usefixtures("undrawn")
def test_a_pipeline_counts_with_its_trained_model_and_its_changes(tmp_path: Path) -> None:
    run = synthetic_run.pipeline_run(tmp_path / "run", problems=14, samples=1, steps=12)
    write_comparison([run], tmp_path / "out")
    (row,) = _rows(tmp_path / "out" / "report.csv")
    result = json.loads((run / "result.json").read_text())
    assert float(row["length"]) == pytest.approx(result["trained/mini/length"])
    assert float(row["compression"]) == pytest.approx(result["mini/compression"])
    assert float(row["accuracy_change_se"]) == pytest.approx(result["mini/accuracy_change_se"])


def test_best_and_second_best_are_marked_and_the_papers_are_not() -> None:
    def line(label: str, accuracy: float, length: float, runs: int | None = 1) -> TableRow:
        return TableRow((label,), Results.parse({"accuracy": accuracy, "length": length}), runs)

    ours = (line("a_b", 0.9, 30), line("c", 0.8, 20), line("d", 0.9, 40))
    table = Table("mini", ("reward",), (*ours, line("paper", 0.99, 1, None)))
    assert to_markdown(table).splitlines()[2:] == [
        "| a_b | 1 | **90.0** | <u>30.0</u> |",
        "| c | 1 | <u>80.0</u> | **20.0** |",
        "| d | 1 | **90.0** | 40.0 |",
        "| paper |  | 99.0 | 1.0 |",
    ]
    assert to_latex(table).splitlines()[4:] == [
        r"\midrule",
        r"a\_b & 1 & \textbf{90.0} & \underline{30.0} \\",
        r"c & 1 & \underline{80.0} & \textbf{20.0} \\",
        r"d & 1 & \textbf{90.0} & 40.0 \\",
        r"\midrule",
        r"paper &  & 99.0 & 1.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_an_error_of_nothing_stands_in_the_csv_alone() -> None:
    table = Table("mini", ("reward",), (TableRow(("a",), Results.parse({"format": 1.0, "format_se": 0.0}), 3),))
    assert "| a | 3 | 100.0 |" in to_markdown(table)
    assert r"a & 3 & 100.0 \\" in to_latex(table)
    assert to_csv([table]) == "dataset,reward,runs,format,format_se\nmini,a,3,1,0\n"


def test_signs_and_errors_are_typeset() -> None:
    results = Results.parse({"accuracy": 0.9, "accuracy_se": 0.01, "accuracy_change": -0.02})
    latex = to_latex(Table("mini", ("r_b",), (TableRow(("-0.4",), results, 1),)))
    assert r"$-$0.4 & 1 & 90.0 $\pm$ 1.0 & $-$2.0 \\" in latex


@pytest.mark.usefixtures("undrawn")
def test_runs_that_differ_and_runs_without_results_are_listed(tmp_path: Path) -> None:
    sweep = synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4, 0.0), seeds=(1,))
    (sweep / "broken").mkdir()
    report = write_comparison(sorted(sweep.iterdir()), tmp_path).read_text()
    assert "| run | `reward.r_b` |\n| --- | --- |\n| r_b-0.4-w0.5-s1 | -0.4 |\n| r_b0.0-w0.5-s1 | 0.0 |" in report
    assert "- broken: the run is unfinished, or it does not evaluate a model." in report


def test_the_stage_takes_a_folder_of_runs_or_a_glob_and_no_report(tmp_path: Path) -> None:
    sweep = synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4,), seeds=(1, 2))
    synthetic_sweep.grpo_run(sweep / "unfinished", 0.0, 1)
    (sweep / "unfinished" / "result.json").unlink()
    report = synthetic_sweep.grpo_run(sweep / "summary", 0.0, 1)
    (report / "config.yaml").write_text("stage: {name: report}\n")
    (sweep / "figures").mkdir()
    names = ["r_b-0.4-w0.5-s1", "r_b-0.4-w0.5-s2"]
    for runs in (sweep, sweep / "*"):
        assert [path.name for path in Report(runs=str(runs)).folders()] == names
    assert [path.name for path in Report(runs=str(sweep / names[0])).folders()] == names[:1]


@pytest.fixture
def pipelines(tmp_path: Path) -> Path:
    """Two, whose evaluations left no more than results; `initial` is shared, so a link."""
    for name in ("one", "two"):
        pipeline, shared = tmp_path / name, tmp_path / "shared" / "initial-1"
        _write_part(shared, "evaluate, format: plain", "base")
        _write_part(pipeline / "label", "label", "base")
        _write_part(pipeline / "trained", "evaluate, format: auto", pipeline / "grpo" / "checkpoints" / "last")
        _write_part(pipeline, "pipeline", "base")
        (pipeline / "initial").symlink_to("../shared/initial-1")
    return tmp_path


def _write_part(path: Path, stage: str, model: object) -> None:
    write_json(path / "result.json", {"mini/accuracy": 0.5, "mini/length": 9.0})
    (path / "config.yaml").write_text(f"stage: {{name: {stage}}}\nmodel: {{path: {model}}}\nrun: {{dir: {path}}}\n")


@pytest.mark.usefixtures("undrawn")
def test_the_stage_takes_the_evaluations_of_a_pipeline(pipelines: Path) -> None:
    for name in ("initial", "trained"):
        (folder,) = Report(runs=str(pipelines / "one" / name)).folders()
        assert folder == pipelines / "one" / name
        assert "## Results" in write_report(folder, out=pipelines / "out").read_text()
    parts = [Report(runs=str(pipelines / "*" / name)).folders() for name in ("initial", "trained")]
    assert parts == [[pipelines / run / name for run in ("one", "two")] for name in ("initial", "trained")]
    said = write_comparison([*parts[0], *parts[1]], pipelines / "out", by=["stage.format"]).read_text()
    assert "| one/initial |" in said and "| two/trained |" in said and "does not evaluate a model" not in said


def test_parts_of_pipelines_are_grouped_by_the_pipelines_name_and_by_no_path(pipelines: Path) -> None:
    (pipelines / "two").rename(pipelines / "one-s1")
    runs = [read_run(pipelines / run / part) for run in ("one", "one-s1") for part in ("initial", "trained")]
    groups = group_runs(runs, ["folder"])
    assert [(group.values, len(group.runs)) for group in groups] == [
        ({"folder": "one/initial"}, 2),
        ({"folder": "one/trained"}, 2),
    ]
    assert [len(group.runs) for group in group_runs(runs[1::2])] == [2]


def test_the_same_runs_make_the_same_files(tmp_path: Path) -> None:
    sweep = synthetic_sweep.sweep(tmp_path / "sweep", values=(-0.4, 0.0), seeds=(1, 2))
    for name in ("one", "two"):
        write_comparison(sorted(sweep.iterdir()), tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert [path.name for path in files] == [
        "accuracy_length.pdf",
        "accuracy_length.png",
        "coefficient.pdf",
        "coefficient.png",
        "report.csv",
        "report.md",
        "report.tex",
    ]
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)


# What was measured alike


def _measured(path: Path, stage: str = "evaluate", **hashes: str) -> Run:
    name = "trained/mini" if stage == "pipeline" else "mini"
    path.mkdir()
    if hashes:
        same = {"problems": "p", "prompt": "q", "sampling": "s", "measure": "m", "grader": "g"}
        (path / "hashes.json").write_text(json.dumps({name: same | hashes, "other": {}}))
    return Run(path, {"stage": {"name": stage}}, Results.parse({"mini/accuracy": 0.5}), [], [])


def test_runs_are_ranked_where_problems_sampling_and_grader_agree(tmp_path: Path) -> None:
    base = _measured(tmp_path / "base", prompt="q")
    asked = _measured(tmp_path / "asked", "pipeline", prompt="x")
    assert are_comparable([base, asked], "mini")
    assert comparability_note({"base": base, "asked": asked}, "mini").startswith(
        "These runs are comparable, but they differ in:"
    )
    assert comparability_note({"base": base, "again": base}, "mini") == ""
    for key in ("problems", "sampling", "measure", "grader"):
        other = _measured(tmp_path / key, "pipeline", **{key: "x"})
        assert not are_comparable([base, other], "mini")
        said = comparability_note({"base": base, "other": other, "third": base}, "mini")
        assert said.startswith("**Not ranked**")
        assert f"| {key} | runs |\n| --- | --- |\n| {key[0]} | base, third |\n| x | other |" in said


def test_runs_that_left_no_hashes_are_told_of(tmp_path: Path) -> None:
    base, none = _measured(tmp_path / "base", prompt="q"), _measured(tmp_path / "none")
    assert not are_comparable([base, none], "mini")
    assert "| not known | not known | not known | not known | not known | none |" in comparability_note(
        {"base": base, "none": none}, "mini"
    )
    assert are_comparable([none, none], "mini")
    assert "they have no hashes.json" in comparability_note({"none": none, "too": none}, "mini")


def test_a_table_of_unlike_measurements_has_no_best(tmp_path: Path) -> None:
    lines = tuple(TableRow((name,), Results.parse({"accuracy": value}), 1) for name, value in (("a", 0.5), ("b", 0.6)))
    assert "**60.0**" in to_markdown(Table("mini", ("x",), lines))
    assert "*" not in to_markdown(Table("mini", ("x",), lines, ranked=False))
    assert "textbf" not in to_latex(Table("mini", ("x",), lines, ranked=False))


# Figures


def test_a_coefficients_ticks_are_the_values_that_were_swept() -> None:
    def ticks(*values: float) -> list[str]:
        line = {x: Results.parse({"accuracy": 0.5, "length": 20.0}) for x in values}
        figure = figures.against_coefficient("reward.r_b", {"": line})
        return [label.get_text() for label in figure.axes[0].get_xticklabels()]

    assert ticks(0.0, -0.2, -0.4) == ["-0.4", "-0.2", "0"]
    assert ticks(*range(20)) == ["0", "3", "6", "9", "12", "15", "18"]


def test_a_coefficients_figure_has_a_line_for_each_choice_of_the_others_with_errors() -> None:
    results = Results.parse({"accuracy": 0.5, "accuracy_se": 0.1, "length": 20.0})
    figure = figures.against_coefficient("reward.r_b", {"w=1": {0.0: results, -0.4: results}, "w=2": {0.0: results}})
    accuracy, length = figure.axes
    first, second = accuracy.containers
    assert np.array(first.lines[0].get_xydata()).tolist() == [[-0.4, 50], [0.0, 50]]  # pyright: ignore
    assert np.allclose(first.lines[2][0].get_segments()[0][:, 1], [40, 60])  # pyright: ignore
    assert np.array(second.lines[0].get_xydata()).tolist() == [[0.0, 50]]  # pyright: ignore
    assert length.get_ylim()[0] == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["w=1", "w=2"]
    assert accuracy.get_xlabel() == "reward.r_b"


def test_points_have_both_errors() -> None:
    numbers = {"accuracy": 0.5, "accuracy_se": 0.02, "length": 100.0, "length_se": 7.0}
    figure: Any = figures.accuracy_against_length(
        {"a": Results.parse(numbers), "b": Results.parse({"accuracy": 0.6, "length": 50.0})}
    )
    bars = [segment for collection in figure.axes[0].collections for segment in collection.get_segments()]
    ends = [tuple(map(tuple, bar)) for bar in bars]
    assert ((93.0, 50.0), (107.0, 50.0)) in ends and ((100.0, 48.0), (100.0, 52.0)) in ends


def test_the_front_is_drawn_through_what_nothing_beats() -> None:
    def result(accuracy: float, length: float) -> Results:
        return Results.parse({"accuracy": accuracy, "length": length})

    figure = figures.accuracy_against_length({"a": result(0.5, 10), "b": result(0.9, 30), "c": result(0.7, 40)})
    assert figure is not None
    (front,) = [line for line in figure.axes[0].lines if line.get_label() == "Pareto front"]
    assert np.array(front.get_xydata()).tolist() == [[10, 50], [30, 90]]


def test_points_differ_in_color_and_marker_and_hide_none_below_them() -> None:
    same = Results.parse({"accuracy": 0.5, "length": 1000.0})
    figure = figures.accuracy_against_length(
        {"a": same, "b": same, "c": Results.parse({"accuracy": 0.6, "length": 1100.0})}
    )
    assert figure is not None
    points = [container.lines[0] for container in figure.axes[0].containers]  # pyright: ignore
    assert len({line.get_color() for line in points}) == len({line.get_marker() for line in points}) == 3
    assert {line.get_markerfacecolor() for line in points} == {"none"}
    assert [line.get_markersize() for line in points] == [6, 10, 6]
    assert figure.axes[0].get_xlim()[0] > 900
    assert figures.accuracy_against_length({"a": same}) is None


def test_letters_in_a_pdf_are_no_pictures(tmp_path: Path) -> None:
    line = {0.0: Results.parse({"accuracy": 0.5, "length": 20.0})}
    drawn = figures.save_pdf(figures.against_coefficient("x", {"": line}), tmp_path / "x.pdf").read_bytes()
    assert b"/Type42" in drawn or b"/CIDFontType2" in drawn
    assert b"/Type3" not in drawn


def test_every_metric_that_an_evaluation_writes_has_a_direction() -> None:
    before = [[Outcome(True, n != 2, 90 + n, 100, thinking_length=9, level=n) for _ in range(4)] for n in range(3)]
    after = [[replace(outcome, length=60) for outcome in group] for group in before]
    verdict = Verdict(correct=True, parsed=True, timed_out=False)
    written = summarize(before) | compare(before, after) | at_cutoffs(before, (64, 128))
    written |= budget_area({64: before, 128: after}) | Results.from_values(verification_rates([verdict]))
    metrics = {key.metric for key in written.estimates}
    assert {"pass_at", "maj_at", "tokens_per_correct", "cutoff_area", "budget_area", "verify/unparsed"} <= metrics
    assert {find(metric).better for metric in metrics} == {-1, 0, 1}
    assert [find(metric).better for metric in ("maj_at", "tokens_per_correct_change", "budget_use")] == [1, -1, 0]
    with pytest.raises(KeyError):
        find("temperature")


def test_tables_have_the_price_and_the_most_samples_and_the_csv_has_more() -> None:
    numbers = {"accuracy": 0.5, "pass_at_2": 0.6, "pass_at_4": 0.8, "maj_at_4": 0.7, "tokens_per_correct": 120.0}
    cheap = TableRow(("a",), Results.parse({**numbers, "budget_area": 0.4}), 1)
    dear = TableRow(("b",), Results.parse({**numbers, "tokens_per_correct": 240.0}), 1)
    table = Table("mini", ("reward",), (cheap, dear))
    names = ["tokens per correct answer", "pass@4, %", "maj@4, %"]
    assert to_markdown(table).splitlines()[0] == f"| reward | runs | accuracy, % | {' | '.join(names)} |"
    assert "| a | 1 | 50.0 | **120.0** | 80.0 | 70.0 |" in to_markdown(table)
    assert "budget_area" in to_csv([table]).splitlines()[0]
