"""Reports: what stands in them is what the run folder holds, and what is not there is left out and named."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import synthetic_run
from budgetrl.core.records import Outcome
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import PartKind
from budgetrl.metrics.results import Results
from budgetrl.report import figures, tables
from budgetrl.report.headlines import headline
from budgetrl.report.numbers import quantity
from budgetrl.report.reading import Run, read_run
from budgetrl.report.report import write_report
from budgetrl.rewards.budget_gauss import BudgetGauss
from budgetrl.rewards.cosine import Cosine
from budgetrl.rewards.hapo import Hapo
from budgetrl.rewards.registry import reward_class, reward_names
from budgetrl.rewards.shorterbetter import ShorterBetter
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.stages.report import Report
from budgetrl.stages import report as stage

LARGEST_FIGURE = 150_000
"""Bytes. A report of a dozen figures can be mailed, or put in a repository."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline run with its report."""
    path = synthetic_run.pipeline_run(tmp_path_factory.mktemp("runs") / "story", problems=28, samples=2, steps=40)
    write_report(path)
    return path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are composed but not rendered, which takes most of the time."""

    def touch(figure: object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr(figures, "save", touch)


def _text(folder: Path) -> str:
    return (folder / "report.md").read_text()


def _pictures(folder: Path) -> list[Path]:
    return [folder / link for link in re.findall(r"!\[.+?\]\((.+?)\)", _text(folder))]


def _headings(folder: Path) -> list[str]:
    return re.findall(r"^## (.*)$", _text(folder), re.MULTILINE)


# Whole reports


def test_a_pipelines_report_has_every_section(pipeline: Path) -> None:
    assert _headings(pipeline) == [
        "Before and after training",
        "Results by difficulty level",
        "Budget adherence",
        "Length control with given budgets",
        "Training curves",
        "Cold start and labeling",
        "Example",
        "Settings",
        "Use the model",
        "Reproduce this run",
    ]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("stage", "unused"),
    [
        ("pretrain", {"reward", "algorithm"}),
        ("cold_start", {"algorithm"}),
        ("grpo", {"objective"}),
        ("evaluate", {"algorithm", "objective", "zero"}),
        ("pipeline", {"objective"}),  # of which there is no cold start here
        ("my_package.stages.Own", set()),
    ],
)
def test_the_settings_are_those_that_the_stage_uses(tmp_path: Path, stage: str, unused: set[str]) -> None:
    (tmp_path / "config.yaml").write_text(synthetic_run.CONFIG % stage)
    write_report(tmp_path)
    shown = set(re.findall(r"^\| `(\w+)` \|", _text(tmp_path), re.MULTILINE))
    groups = {"seed", "model", "dataset", "stage", "reward", "algorithm", "objective", "rollout", "zero"}
    assert shown == groups - unused


def test_a_pipeline_with_a_cold_start_names_its_objective(pipeline: Path) -> None:
    assert "| `objective` | name supervised |" in _text(pipeline)


def test_the_headline_says_what_changed(pipeline: Path) -> None:
    result = json.loads((pipeline / "result.json").read_text())
    before, after = result["initial/mini/length"], result["trained/mini/length"]
    shorter, error = 100 * result["mini/compression"], 100 * result["mini/compression_se"]
    better, better_error = 100 * result["mini/accuracy_change"], 100 * result["mini/accuracy_change_se"]
    assert (
        f"**{after:.0f} tokens instead of {before:.0f} ({shorter:.0f} % shorter, SE {error:.1f}) "
        f"at {100 * result['trained/mini/accuracy']:.1f} % accuracy "
        f"({better:+.1f} points, SE {better_error:.1f}).**"
    ) in _text(pipeline)


def test_every_picture_in_a_report_is_there_and_of_modest_size(pipeline: Path) -> None:
    pictures = _pictures(pipeline)
    assert [path.stem for path in pictures] == ["by_level", "budget_length", "length_control", "training"]
    assert sorted(pictures) == sorted((pipeline / "figures").iterdir())
    for path in pictures:
        assert path.stat().st_size < LARGEST_FIGURE
        with Image.open(path) as image:
            assert 600 < image.width < 1400
            assert image.convert("L").getextrema() != (255, 255)


def test_the_report_leads_to_the_model_and_the_command(pipeline: Path) -> None:
    checkpoint = pipeline / "grpo" / "checkpoints" / "last"
    assert f"vllm serve {checkpoint}" in _text(pipeline)
    assert f"sh {pipeline / 'launch.sh'}" in _text(pipeline)
    (snippet,) = re.findall(r"```python\n(.*?)```", _text(pipeline), re.DOTALL)
    compile(snippet, "snippet", "exec")


def test_the_example_is_one_problem_answered_rightly_before_and_after(pipeline: Path) -> None:
    section = _text(pipeline).split("## Example")[1].split("## Settings")[0]
    problem, before, after = re.findall(r"~~~~~text\n(.*?)\n~~~~~", section, re.DOTALL)
    assert problem.endswith("?")
    assert before.startswith("plan")
    assert after.startswith("<budget>")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("change", [{"correct": False}, {"prefilled": 24}, {"dataset": "other"}])
def test_an_example_is_of_free_right_answers_to_the_same_problem(change: dict[str, Any], tmp_path: Path) -> None:
    run = synthetic_run.pipeline_run(tmp_path / "run", problems=7, samples=1, steps=12)
    completions = run / "trained" / "completions.jsonl"
    rows = [json.loads(line) | change for line in completions.read_text().splitlines()]
    completions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(run)
    assert "Example" not in _headings(run)


@pytest.mark.usefixtures("undrawn")
def test_an_evaluations_report_has_a_table_and_figures(tmp_path: Path) -> None:
    synthetic_run.evaluate_run(tmp_path / "run", problems=14)
    write_report(tmp_path / "run")
    accuracy = read_run(tmp_path / "run").result.of("mini").get("accuracy")
    assert f"| accuracy | {quantity('accuracy', accuracy)} |" in _text(tmp_path / "run")
    assert [path.stem for path in _pictures(tmp_path / "run")] == [
        "by_level",
        "budget_length",
        "length_control",
    ]
    assert "28 completions of 14 problems" in _text(tmp_path / "run")
    assert "Use the model" not in _headings(tmp_path / "run")


@pytest.mark.usefixtures("undrawn")
def test_a_training_runs_headline_compares_its_ends(tmp_path: Path) -> None:
    synthetic_run.grpo_run(tmp_path / "run", steps=30)
    rows = read_run(tmp_path / "run").metrics
    first, last = (np.mean([row["length"] for row in part]) for part in (rows[:10], rows[-10:]))
    write_report(tmp_path / "run")
    assert "In 30 steps: accuracy from" in _text(tmp_path / "run")
    assert f"length from {first:.0f} to {last:.0f} tokens" in _text(tmp_path / "run")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (1, ""),
        (3, "In 3 steps: length from 2 to 6 tokens (the first and the last step)."),
        (5, "In 5 steps: length from 3 to 9 tokens (means of the first and last 2 steps)."),
    ],
)
def test_the_ends_of_a_short_training_do_not_overlap(steps: int, said: str) -> None:
    rows = [{"step": step, "length": 2 * step} for step in range(1, steps + 1)]
    assert headline(Run(Path("run"), {"stage": {"name": "grpo"}}, Results(), rows, [])) == said


@pytest.mark.usefixtures("undrawn")
def test_several_data_sets_have_sections_and_figures_of_their_own(tmp_path: Path) -> None:
    run = synthetic_run.evaluate_run(tmp_path / "run", problems=14)
    result = json.loads((run / "result.json").read_text())
    other = {key.replace("mini/", "other/", 1): value for key, value in result.items()}
    (run / "result.json").write_text(json.dumps(result | other))
    write_report(run)
    assert {"Results by difficulty level: mini", "Results by difficulty level: other"} <= set(_headings(run))
    assert {"by_level_mini", "by_level_other", "budget_length_mini"} <= {p.stem for p in _pictures(run)}
    assert "- Budget adherence: other: no completion" in _text(run)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("grpo/metrics.jsonl", "Training curves: "),
        ("trained/completions.jsonl", "Budget adherence: no completion"),
        ("initial/completions.jsonl", "Example: no problem"),
        ("result.json", "Before and after training: result.json"),
        ("launch.sh", "Reproduce this run: launch.sh is missing"),
        ("cold_start/result.json", ""),
    ],
)
def test_what_is_missing_is_left_out_and_said(missing: str, said: str, pipeline: Path, tmp_path: Path) -> None:
    run = synthetic_run.pipeline_run(tmp_path / "run", problems=7, samples=1, steps=12)
    (run / missing).unlink()
    write_report(run)
    assert ("- " + said in _text(run)) if said else "## Omitted" not in _text(run)
    assert set(_headings(run)) <= {*_headings(pipeline), "Omitted"}


def test_nothing_but_a_folder_makes_a_report_of_what_is_missing(tmp_path: Path) -> None:
    write_report(tmp_path)
    assert _headings(tmp_path) == ["Omitted"]


@pytest.mark.usefixtures("undrawn")
def test_the_report_of_one_run_goes_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(figures, "save", lambda _, path: drawn.append(path))
    run, out = synthetic_run.pipeline_run(tmp_path / "run", problems=7, samples=1, steps=12), tmp_path / "out"
    before = set(run.rglob("*"))
    ctx: Any = SimpleNamespace(folder=RunFolder(out), print=print)
    config: Any = None  # the rest of the configuration is not looked at
    assert stage.run(Report(runs=str(run)), config, ctx) == {"runs": 1.0}
    assert drawn
    assert {path.parent for path in drawn} == {out / "figures"}
    assert set(run.rglob("*")) == before
    text = (out / "report.md").read_text()
    assert text.startswith("# run\n")
    assert str(run / "launch.sh") in text


@pytest.mark.usefixtures("undrawn")
def test_numbers_in_hand_stand_in_for_a_result_not_written_yet(tmp_path: Path) -> None:
    run = synthetic_run.pipeline_run(tmp_path / "run", problems=7, samples=1, steps=12)
    write_report(run)
    expected = _text(run)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").unlink()
    write_report(run, result)
    assert _text(run) == expected


# Tables


@given(st.lists(st.lists(st.text("ab|\n", max_size=5), min_size=3, max_size=3), max_size=4))
def test_no_cell_breaks_a_table_apart(rows: list[list[str]]) -> None:
    lines = tables.markdown(["x", "y", "z"], rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)


def test_a_change_is_the_paired_one_where_there_is_one() -> None:
    initial = Results.parse({"accuracy": 0.96, "accuracy_se": 0.01, "format": 1.0, "length": 100.0})
    trained = Results.parse({"accuracy": 0.95, "accuracy_se": 0.01, "format": 0.99, "length": 40.0})
    changes = Results.parse({"accuracy_change": -0.01, "accuracy_change_se": 0.004, "compression": 0.6})
    table = tables.before_after(initial, trained, changes)
    assert "| accuracy | 96.0 ± 1.0 % | 95.0 ± 1.0 % | -1.0 ± 0.4 points |" in table
    assert "| length, tokens | 100.0 | 40.0 | 60.0 % shorter |" in table
    assert "| well formed | 100.0 % | 99.0 % | -1.0 points |" in table
    assert "budget" not in table


def test_a_change_has_its_interval_behind_it() -> None:
    before, after = (
        Results.parse({"accuracy": 0.96, "length": 100.0}),
        Results.parse({"accuracy": 0.95, "length": 40.0}),
    )
    changes = {"accuracy_change": -0.01, "accuracy_change_se": 0.004}
    changes |= {"accuracy_change_low": -0.018, "accuracy_change_high": -0.002}
    changes |= {"compression": 0.6, "compression_low": 0.55, "compression_high": 0.65}
    table = tables.before_after(before, after, Results.parse(changes))
    assert "| -1.0 ± 0.4 points (-1.8 to -0.2) |" in table
    assert "| 60.0 % shorter (55.0 to 65.0) |" in table


def test_no_error_is_shown_where_all_were_alike() -> None:
    alike = {"format": 1.0, "format_se": 0.0, "length": 37.0, "length_se": 1e-17}
    unchanged = {"compression": 0.0, "compression_se": 0.0, "compression_low": -1e-8, "compression_high": 1e-8}
    unchanged |= {"accuracy_change": 0.0, "accuracy_change_se": 0.0} | dict.fromkeys(
        ("accuracy_change_low", "accuracy_change_high"), 0.0
    )
    assert "| well formed | 100.0 % |" in tables.evaluation({"mini": Results.parse(alike)})
    table = tables.before_after(
        Results.parse(alike | {"accuracy": 0.9}), Results.parse(alike), Results.parse(unchanged)
    )
    assert "| accuracy | 90.0 % | - | +0.0 points |" in table
    assert "| length, tokens | 37.0 | 37.0 | 0.0 % shorter |" in table
    assert "| mini | +0.0 points | 0.0 % |" in tables.gains({"mini": Results.parse(unchanged)})
    little = Results.parse({"format": 0.9996, "format_se": 0.0004})
    assert "| well formed | 100.0 ± 0.0 % |" in tables.evaluation({"mini": little})


def test_a_headline_has_no_error_where_nothing_changed() -> None:
    numbers = {"initial/mini/length": 9.0, "trained/mini/length": 9.0, "trained/mini/accuracy": 1.0}
    numbers |= {
        f"mini/{key}": 0.0 for key in ("compression", "compression_se", "accuracy_change", "accuracy_change_se")
    }
    said = headline(Run(Path("run"), {"stage": {"name": "pipeline"}}, Results.parse(numbers), [], []))
    assert said == "9 tokens instead of 9 (0 % shorter) at 100.0 % accuracy (+0.0 points)."


@pytest.mark.parametrize(("formed", "told"), [(0.949, ", but only 94.9 % well formed."), (0.951, "accuracy.")])
def test_a_headline_speaks_of_a_format_that_was_lost(formed: float, told: str) -> None:
    numbers = {"initial/mini/length": 9.0, "trained/mini/length": 9.0, "trained/mini/accuracy": 1.0}
    run = Run(
        Path("run"), {"stage": {"name": "pipeline"}}, Results.parse({**numbers, "trained/mini/format": formed}), [], []
    )
    assert headline(run).endswith(told)


def test_an_evaluation_shows_the_most_samples_and_its_cutoffs() -> None:
    keys = ("accuracy", "pass_at_2", "pass_at_8", "maj_at_8", "cutoff_64/accuracy", "cutoff_128/accuracy")
    results = Results.parse(dict.fromkeys(keys, 0.5) | {"tokens_per_correct": 81.25, "cutoff_area": 0.4})
    table = tables.evaluation({"mini": results})
    assert "| pass@8 | 50.0 % |" in table
    assert "pass@2" not in table
    assert "| tokens per correct answer | 81.2 |" in table
    assert "| area under accuracy, cutoffs | 40.0 % |" in table
    assert results.part_numbers(PartKind.CUTOFF) == [64, 128]
    assert "| 64 | 50.0 % | - |" in tables.cutoffs(results)


CUT_OFFS = {
    "cutoff_32/accuracy": 0.25,
    "cutoff_32/accuracy_se": 0.05,
    "cutoff_32/length": 30.0,
    "cutoff_128/accuracy": 0.75,
    "cutoff_128/length": 90.0,
    "budget_64/accuracy": 0.5,
    "budget_64/length": 70.0,
    "budget_area": 0.4,
}


def test_accuracy_is_drawn_against_cut_offs_and_beside_them_given_budgets() -> None:
    assert figures.accuracy_against_limit({"": Results.parse({"accuracy": 0.5, "budget_area": 0.4})}) is None
    figure = figures.accuracy_against_limit({"initial": Results(), "trained": Results.parse(CUT_OFFS)})
    assert figure is not None
    by_limit, by_length = figure.axes
    lines = {bars.get_label(): bars.lines[0].get_xydata() for bars in by_limit.containers}
    assert {label: np.asarray(data).tolist() for label, data in lines.items()} == {
        "trained model, cutoff": [[32, 25], [128, 75]],
        "trained model, given budget": [[64, 50]],
    }
    obtained = [np.asarray(bars.lines[0].get_xydata()).tolist() for bars in by_length.containers]
    assert obtained == [[[30, 25], [90, 75]], [[70, 50]]]
    (bars,) = by_limit.containers[0].lines[2]
    assert np.ptp(bars.get_segments()[0][:, 1]) == pytest.approx(10)  # ± 5 points


def test_an_evaluation_with_cut_offs_shows_them(undrawn: None, tmp_path: Path) -> None:
    path = synthetic_run.evaluate_run(tmp_path / "run", problems=7, samples=1)
    result = json.loads((path / "result.json").read_text())
    write_report(path, result)
    assert "Accuracy under token limits" not in _headings(path)
    write_report(path, result | {f"mini/{key}": value for key, value in CUT_OFFS.items()})
    assert "Accuracy under token limits" in _headings(path)
    assert "| 128 | 75.0 % | 90.0 |" in _text(path)
    assert path / "figures" / "cut_off.png" in _pictures(path)


def test_data_sets_are_told_from_their_levels_and_budgets() -> None:
    keys = [
        "mini/accuracy",
        "mini/level_2/accuracy",
        "mini/budget_24/accuracy",
        "gsm8k/accuracy",
        "mini/length",
    ]
    results = Results.parse(dict.fromkeys(keys, 0.5))
    assert results.datasets() == ["mini", "gsm8k"]
    assert results.of("mini").part_numbers(PartKind.LEVEL) == [2]


def test_a_number_without_a_value_is_absent() -> None:
    assert Results.parse({"length": None}).get("length") is None
    assert Results.parse({"length": 2.0, "length_se": None}).get("length") == Estimate(2.0)


# Figures


def _training_rows(**columns: Sequence[Any]) -> list[dict[str, Any]]:
    values = zip(*columns.values(), strict=True)
    return [{"step": step, **dict(zip(columns, row, strict=True))} for step, row in enumerate(values, start=1)]


def _titles(figure: Any) -> list[str]:
    return [ax.get_title("left") for ax in figure.axes]


def _error_bars(figure: Any) -> list[Any]:
    """Of the first panel; `.lines` are the line, the caps and the bars of each."""
    return figure.axes[0].containers


def test_only_logged_metrics_have_a_panel() -> None:
    figure = figures.training_curves(_training_rows(reward=[1, 2], loss=[3, 4], budget=[None, None]))
    assert _titles(figure) == ["Reward"]
    assert _titles(figures.training_curves(_training_rows(loss=[3, 4]))) == ["Loss"]
    assert figures.training_curves([]) is None


def test_a_curve_goes_through_the_logged_values_and_over_gaps() -> None:
    figure = figures.training_curves(_training_rows(alpha=[1.0, None, 0.5, 0.25]))
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert np.array(line.get_xydata()).tolist() == [[1, 1.0], [3, 0.5], [4, 0.25]]


def test_evaluations_are_points_with_their_errors_in_the_panels_unit() -> None:
    rows = _training_rows(accuracy=[0.5, 0.6])
    rows[1] |= {"eval/held/out/accuracy": 0.7, "eval/held/out/accuracy_se": 0.05}
    figure = figures.training_curves(rows)
    assert figure is not None
    (bars,) = _error_bars(figure)
    (segment,) = bars.lines[2][0].get_segments()
    assert np.allclose(segment, [[2, 65], [2, 75]])
    assert figure.legends[0].get_texts()[0].get_text() == "held-out problems of held/out"


def test_levels_show_means_and_errors_of_each_model() -> None:
    model = {"level_1/accuracy": 0.5, "level_1/accuracy_se": 0.1, "level_3/accuracy": 1.0}
    figure = figures.by_level({"initial": Results.parse(model), "trained": Results.parse({"level_3/accuracy": 0.5})})
    assert figure is not None
    initial, trained = _error_bars(figure)
    assert np.array(initial.lines[0].get_ydata()).tolist() == [50, 100]
    assert np.allclose(initial.lines[2][0].get_segments()[0][:, 1], [40, 60])
    assert np.allclose(trained.lines[0].get_xdata(), 1, atol=0.1)
    assert figures.by_level({"": Results.parse({"accuracy": 0.5})}) is None


@settings(max_examples=15)  # each composes a figure
@given(st.lists(st.tuples(st.integers(1, 30_000), st.integers(0, 30_000)), max_size=20))
def test_every_completion_with_a_budget_is_in_a_cell(pairs: list[tuple[int, int]]) -> None:
    rows: list[dict[str, Any]] = [{"budget": budget, "length": length} for budget, length in pairs]
    figure = figures.budget_against_length([*rows, {"budget": None, "length": 5}])
    drawn = [pair for pair in pairs if pair[1] > 0]
    if not drawn:
        assert figure is None
        return
    assert figure is not None
    counts = [cells.get_array() for cells in figure.axes[0].collections]
    assert [np.sum(count) for count in counts if count is not None] == [len(drawn)]


def test_control_is_the_mean_over_problems() -> None:
    lengths = {"a": [10, 10, 10], "b": [40]}
    rows = [
        {"problem_id": problem, "prefilled": 20, "level": 1, "length": length}
        for problem, values in lengths.items()
        for length in values
    ]
    figure = figures.length_control([*rows, {"problem_id": "c", "prefilled": None, "level": 1, "length": 99}])
    assert figure is not None
    (bars,) = _error_bars(figure)
    assert np.array(bars.lines[0].get_xydata()).tolist() == [[20, 25]]
    assert np.allclose(bars.lines[2][0].get_segments()[0][:, 1], [10, 40])
    assert figures.length_control([]) is None


def _texts(figure: Any) -> str:
    return "\n".join(text.get_text() for ax in figure.axes for text in ax.texts)


def _legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.slow
@pytest.mark.parametrize("name", reward_names())
def test_every_reward_is_drawn_for_correct_and_incorrect(name: str) -> None:
    figure = figures.reward_shape(reward_class(name)(), 5000)
    assert _titles(figure) == [name]
    assert _legend(figure)[:2] == ["correct", "incorrect"]


def test_a_reward_is_drawn_through_its_values_once_for_each_moment_that_differs() -> None:
    reward = BudgetGauss()
    figure = figures.reward_shape(reward, 1000)
    assert _legend(figure) == ["correct", "incorrect", "malformed", "0 %", "25 %", "50 to 100 % of training"]
    lines = [line for line in figure.axes[0].lines if len(np.asarray(line.get_xdata())) > 2]
    assert len(lines) == 3 * 3
    for verdict, line in zip((True, False), lines[-3:], strict=False):
        outcomes = [Outcome(True, verdict, int(length), 500) for length in np.asarray(line.get_xdata())]
        assert np.allclose(line.get_ydata(), reward(outcomes, progress=0.5))


def test_a_grid_has_a_panel_for_each_reward_at_the_end_of_training() -> None:
    figure = figures.reward_grid([reward_class(name)() for name in ("budget_cosine", "cosine")], 1000)
    cosine, budgeted = figure.axes[1], figure.axes[0]
    assert [ax.get_title("left") for ax in figure.axes] == ["budget_cosine", "cosine"]
    assert np.asarray(cosine.lines[0].get_ydata())[[0, -1]].tolist() == pytest.approx([2.0, 1.0])
    assert max(np.asarray(budgeted.lines[0].get_ydata())) == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_a_drawn_reward_says_what_stands_around_it() -> None:
    assert "correct with 500 and 1,000 tokens, incorrect with 1,500" in _texts(
        figures.reward_shape(ShorterBetter(), 2000)
    )
    assert "rest of the group" not in _texts(figures.reward_shape(Cosine(), 2000))
    assert "budget 1,000 tokens, within b_max" in _texts(figures.reward_shape(BudgetGauss(), 2000))
    assert "learned so far: history none" in _texts(figures.reward_shape(Hapo(), 2000))
    figure = figures.reward_shape(Hapo(history={figures.EXAMPLE: 1000}), 2000)
    right = figure.axes[0].lines[0]
    assert np.interp(1000, *np.asarray(right.get_xydata()).T) == pytest.approx(1)
    assert np.interp(500, *np.asarray(right.get_xydata()).T) == pytest.approx(1.707107)


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    rows = [{"budget": 10, "length": 9}, {"budget": 20, "length": 30}]
    for name in ("one.png", "two.png"):
        figure = figures.budget_against_length(rows)
        assert figure is not None
        figures.save(figure, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_more_than_two_models_by_level_have_a_color_each() -> None:
    models = {name: Results.parse({f"level_{level}/accuracy": 0.5 for level in (2, 3)}) for name in "abc"}
    (ax,) = figures.by_level(models).axes
    assert len({bars.lines[0].get_color() for bars in ax.containers}) == 3
