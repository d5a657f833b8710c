"""Make the paper's tables and figures: `tables.py table-main figure-control --scale 1_5b`. The default is all of them.

Each table is a folder here (`table_main`) with `table.yaml`: its `title`, its `rows` in order, an optional `figure`,
and further rows of one scale under the scale's name. A scale is an experiment with these rows (`experiments/mini`).
Runs that several tables share are made once, and finished runs are not repeated. The output is a folder
`runs/tables/<scale>/<table>`: `report.md`, `.tex`, `.csv` and figures, with the numbers of the folder's `paper.csv`
below ours.

`--overrides mode=dry` prints the plan of each run that is not finished, and their total cost.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf
from run import DRY, Experiment, is_finished, read_experiment, run_rows

from budgetrl.core.errors import RequestError
from budgetrl.planning.plan import GENERATED, MEMORY, TRAINED, Plan
from budgetrl.report import figures
from budgetrl.report.comparison import write_comparison
from budgetrl.report.groups import FOLDER, RunGroup, group_runs
from budgetrl.report.reading import Run, read_run
from budgetrl.report.sections import MissingSection, Section, embed_figure
from budgetrl.runs import parts
from budgetrl.runs.folder import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENTS = Path("experiments")
H100, UTILIZATION = 989e12, 0.2
"""Dense bfloat16 FLOP per second, as NVIDIA states them, and the share of them that we assume is used."""


@dataclass(frozen=True)
class Table:
    """The contents of `table.yaml` for one scale."""

    name: str
    title: str
    rows: Sequence[str]
    figure: str | None = None

    @property
    def paper(self) -> Path:
        """The file with the paper's numbers; it has only a header if none are known."""
        return EXPERIMENTS / self.name / "paper.csv"


def read_table(target: str, scale: str) -> Table:
    """Read the table of a target such as `table-main`.

    Raises:
        RequestError: there is no table of that name.
    """
    name = target.replace("-", "_")
    path = EXPERIMENTS / name / "table.yaml"
    if not path.is_file():
        raise RequestError(f"there is no table or figure {target}; there are {', '.join(all_targets())}")
    settings = OmegaConf.load(path)
    rows = [*settings.rows, *settings.get(scale, [])]
    return Table(name, settings.title, rows, settings.get("figure"))


def all_targets() -> list[str]:
    """Return the names of all tables and figures."""
    return sorted(path.parent.name.replace("_", "-") for path in EXPERIMENTS.glob("*/table.yaml"))


def write_table(table: Table, experiment: Experiment, seeds: Sequence[int]) -> Path:
    """Write the report of a table from the finished runs; it names the unfinished ones. Return its path."""
    finished: list[Path] = []
    missing: list[MissingSection] = []
    for row in table.rows:
        unfinished: list[str] = []
        for seed in seeds:
            folder = experiment.folder(row, seed)
            if is_finished(folder):
                finished.append(folder)
            else:
                unfinished.append(str(seed))
        if unfinished:
            missing.append(MissingSection(row, f"not finished with seeds {', '.join(unfinished)}"))
    out = Path("runs/tables") / experiment.name / table.name
    drawn = _figures(table, finished, out) if table.figure else []
    return write_comparison(
        finished, out, (FOLDER,), table.paper, title=table.title, before=[*drawn, *missing], differences=False
    )


def _figures(table: Table, folders: Sequence[Path], out: Path) -> list[Section]:
    """Draw the table's figure for each data set that has one."""
    groups = group_runs([read_run(folder) for folder in folders], (FOLDER,)) if folders else []
    draw, caption = FIGURES[table.figure or ""]
    # A dict keeps the order in which runs name their data sets; a set would not.
    datasets: dict[str, None] = {}
    for group in groups:
        for run in group.runs:
            datasets |= dict.fromkeys(run.datasets())
    sections = []
    for dataset in datasets:
        if (figure := draw(groups, dataset)) is not None:
            shown = embed_figure(figure, out, f"{table.name}_{dataset}", f"{table.title}: {dataset}", pdf=True)
            sections.append(Section(f"Figure: {dataset}", f"{shown}\n\n{caption}"))
    return sections


def _by_level(groups: Sequence[RunGroup], dataset: str) -> "Figure | None":
    return figures.by_level({group.label: group.on(dataset) for group in groups})


def _budget_against_length(groups: Sequence[RunGroup], dataset: str) -> "Figure | None":
    completions: list[Row] = []
    for run in _evaluated(groups):
        completions += run.free(dataset)
    return figures.budget_against_length(completions)


def _length_control(groups: Sequence[RunGroup], dataset: str) -> "Figure | None":
    completions: list[Row] = []
    for run in _evaluated(groups):
        completions += run.controlled(dataset)
    return figures.length_control(completions)


def _inflation(groups: Sequence[RunGroup], _: str) -> "Figure | None":
    return figures.budgets_in_training({group.label: _training(group) for group in groups})


FIGURES: dict[str, tuple[Callable[[Sequence[RunGroup], str], "Figure | None"], str]] = {
    "by_level": (_by_level, "Means over runs; bars are as in the table."),
    "budget_against_length": (_budget_against_length, "Completions of all runs; the table has the slope."),
    "length_control": (
        _length_control,
        "Bars are one standard error over problems, with all runs of a problem as one.",
    ),
    "inflation": (_inflation, "Means over runs at each step, and their running mean in bold."),
}


def _evaluated(groups: Sequence[RunGroup]) -> list[Run]:
    """Return the evaluations of the trained models; for a pipeline this is one of its parts."""
    evaluations: list[Run] = []
    for group in groups:
        for run in group.runs:
            evaluations.append(read_run(run.path / run.evaluation) if run.evaluation else run)
    return evaluations


def _training(group: RunGroup) -> list[Row]:
    """Return the metrics rows of all training steps of a group's runs."""
    rows: list[Row] = []
    for run in group.runs:
        rows += read_run(run.path / parts.GRPO).metrics
    return rows


def print_cost(folders: Iterable[Path]) -> None:
    """Print an upper bound of the total cost of the planned runs.

    A model with N parameters needs 2 N FLOP to generate a token (forward pass) and 6 N to train on it (forward and
    backward pass).
    """
    plans = [json.loads((folder / "plan.json").read_text()) for folder in folders]
    sizes = [size for plan in plans if (size := _parameters(plan))]
    largest = max(sizes, default=0)
    print(f"\ntotal\n  runs to make                {len(plans)}")
    flop, unknown = 0.0, set[int]()
    for name, flop_per_parameter in ((GENERATED, 2), (TRAINED, 6)):
        total = 0
        for number, plan in enumerate(plans):
            tokens = plan.get("tokens", {}).get(name, 0)
            if isinstance(tokens, int):
                total += tokens
                # A model that does not exist yet is trained from one that does, so it is no larger.
                flop += flop_per_parameter * tokens * (_parameters(plan) or largest)
            else:
                unknown.add(number)
        print(f"  {f'tokens {name}':<26}  {total:,}")
    if sizes:
        hours = flop / (H100 * UTILIZATION) / 3600
        print(f"  FLOP, at most               {flop:.3g}: 2 per parameter and token generated, 6 trained")
        print(f"  hours of one H100, at most  {hours:,.1f}, if {UTILIZATION:.0%} of its 989 TFLOP/s are used (assumed)")
    left_out = ["prompts"]
    if unknown:
        left_out.append(f"tokens that depend on the problems, in {len(unknown)} of the runs")
    if not sizes:
        left_out.append("FLOP, because no model is on this machine")
    print(f"not counted: {', '.join(left_out)}")


def _parameters(plan: Plan) -> int | None:
    size = plan.get(MEMORY, {}).get("parameters")  # None for a model on a server
    return size if isinstance(size, int) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="tables and figures to make; the default is all")
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--at-once", type=int, default=1, help="runs at the same time")
    parser.add_argument("--overrides", nargs="*", default=[], help="further overrides for all runs, such as mode=dry")
    given = parser.parse_args()
    try:
        experiment = read_experiment(EXPERIMENTS / given.scale)
        tables = [read_table(target, given.scale) for target in given.targets or all_targets()]
        sys.exit(_make(tables, experiment, given))
    except RequestError as error:
        parser.error(str(error))


def _make(tables: Sequence[Table], experiment: Experiment, given: argparse.Namespace) -> int:
    # Tables share rows; each is run once, in the order of the tables.
    rows: list[str] = []
    for table in tables:
        rows += [row for row in table.rows if row not in rows]
    failed = run_rows(experiment, rows, given.seeds, given.overrides, given.at_once)
    if DRY in given.overrides:
        planned: list[Path] = []
        for row in experiment.with_needs(rows):
            for seed in given.seeds:
                folder = experiment.folder(row, seed)
                if (folder / "plan.json").exists() and not is_finished(folder):
                    planned.append(folder)
        print_cost(planned)
    else:
        for table in tables:
            print(write_table(table, experiment, given.seeds))
    return 1 if failed else 0


if __name__ == "__main__":
    main()
