"""`report`: tables and figures from run folders, a picture of a reward, or samples in another harness's form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, ClassVar

from budgetrl.core.checks import require_count
from budgetrl.core.errors import RequestError
from budgetrl.data.samples import as_lm_eval
from budgetrl.report import figures
from budgetrl.report.comparison import short_names, write_comparison
from budgetrl.report.reading import EVALUATIONS, Run, read_run, read_stage
from budgetrl.report.report import write_report
from budgetrl.runs.folder import write_lines
from budgetrl.stages.base import Context, Job, Stage, length_faults


@dataclass(frozen=True)
class Report(Stage):
    """Tables and figures from run folders alone; nothing is run again. Or the reward, drawn as a figure."""

    name: str = "report"
    runs: str = "runs/*"
    """A run folder, a folder of run folders such as a sweep's, a pipeline's `initial` or `trained`, or a glob of these;
    unfinished runs are left out."""
    by: tuple[str, ...] = ()
    """Of several runs: keys of their configuration, a row for each choice of values; seeds and what else is not named
    are averaged. Empty: whatever tells the runs apart, but for the seed. `folder`: the folder's name less -s<seed>."""
    paper: str | None = None
    """A CSV with a paper's numbers, to stand below ours: model,dataset,metric,value,certainty."""
    draw_reward: int | None = None
    """Draw the reward against lengths up to this many tokens, instead of a report; null: don't."""
    samples: bool = False
    """Write the completions of evaluations as lm-evaluation-harness logs samples, instead of a report."""

    reported: ClassVar[bool] = False
    runs_model: ClassVar[bool] = False
    always_runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self, "draw_reward")

    def plan(self, job: Job) -> dict[str, object]:
        if self.draw_reward:
            return {"figure": f"{job.reward.name} up to {self.draw_reward:,} tokens"}
        return {"run folders": len(self.folders())}

    def check(self, job: Job) -> list[str]:
        return length_faults("stage.draw_reward", self.draw_reward, job) if self.draw_reward else []

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        if self.draw_reward:
            return self._draw(job, ctx, self.draw_reward)
        folders = self.folders()
        if not folders:
            raise RequestError(
                f"stage.runs: no finished run lies under {self.runs!r}; name a run folder, a folder of them, or "
                "initial or trained inside that of a pipeline"
            )
        if ctx.world.leads:
            write = self._write_samples if self.samples else self._write
            ctx.say(f"{'samples' if self.samples else 'report'}: {write(folders, ctx.folder.path)}")
        return {"runs": float(len(folders))}

    def _write(self, folders: Sequence[Path], out: Path) -> Path:
        if len(folders) == 1 and not self.by and self.paper is None:
            return write_report(folders[0], out=out)
        return write_comparison(folders, out, self.by, Path(self.paper) if self.paper else None)

    def _write_samples(self, folders: Sequence[Path], out: Path) -> Path:
        """A folder for each model that was evaluated, with a file for each pass over a data set."""
        for name, folder in short_names(folders).items():
            for part in EVALUATIONS if read_stage(folder) == "pipeline" else (".",):
                _write_passes(read_run(folder / part), out / name / part)
        return out

    def _draw(self, job: Job, ctx: Context, longest: int) -> dict[str, float]:
        if ctx.world.leads:
            figure = figures.reward_shape(job.reward, longest)
            ctx.say(f"figure: {figures.save(figure, ctx.folder.path / 'figures' / 'reward.png')}")
        return {}

    def folders(self) -> list[Path]:
        """The finished runs that `runs` stands for, by name; reports are not among them."""
        found = [Path(path) for path in sorted(glob(self.runs))]
        inside = [[path] if _is_run(path) else sorted(path.glob("*/")) for path in found]
        return [path for paths in inside for path in paths if _is_result(path)]


def _write_passes(evaluation: Run, out: Path) -> None:
    how = evaluation.config["stage"]
    sampling = {"max_gen_toks": how.get("max_new_tokens"), "temperature": how.get("temperature")}
    passes: dict[str, list[Mapping[str, Any]]] = {}
    for row in evaluation.completions:
        if "dataset" not in row:
            raise RequestError(
                f"stage.runs: {evaluation.path} is no evaluation; name those of stage=evaluate or pipeline"
            )
        given = "" if row["prefilled"] is None else f"_budget_{row['prefilled']}"
        passes.setdefault(f"{row['dataset']}{given}".replace("/", "_"), []).append(row)
    for name, rows in passes.items():
        write_lines(out / f"samples_{name}.jsonl", as_lm_eval(rows, sampling))


def _is_run(path: Path) -> bool:
    return (path / "config.yaml").exists() or bool(read_stage(path))  # of many runs, reading takes time


def _is_result(path: Path) -> bool:
    return (path / "result.json").exists() and read_stage(path) != Report.name
