"""`export`: the completions of evaluations, as lm-evaluation-harness logs samples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.data.samples import as_lm_eval
from budgetrl.report.comparison import short_names
from budgetrl.report.reading import PIPELINE, Run, read_run, read_stage
from budgetrl.runs.context import Context
from budgetrl.runs.folder import write_lines
from budgetrl.runs.parts import EVALUATIONS
from budgetrl.settings.config import Config
from budgetrl.settings.stages.export import Export


def run(stage: Export, config: Config, ctx: Context) -> dict[str, float]:
    """A folder for each model that was evaluated, with a file for each pass over a data set; returns how many runs."""
    folders, out = stage.folders(), ctx.folder.path
    for name, folder in short_names(folders).items():
        parts = EVALUATIONS if read_stage(folder) == PIPELINE else (".",)
        for part in parts:
            _write_passes(read_run(folder / part), out / name / part)
    ctx.print(f"samples: {out}")
    return {"runs": float(len(folders))}


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
