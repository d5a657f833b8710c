"""`export`: write the completions of evaluations in the sample format of lm-evaluation-harness."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.data.samples import as_lm_eval
from budgetrl.report.comparison import short_names
from budgetrl.report.reading import PIPELINE, Run, read_run, read_stage
from budgetrl.runs.context import Context
from budgetrl.runs.folder import write_lines
from budgetrl.runs.parts import EVALUATIONS
from budgetrl.settings.config import Config
from budgetrl.settings.stages.export import Export


def run(stage: Export, config: Config, ctx: Context) -> dict[str, float]:
    """Write a folder per evaluated model, with a file per pass over a data set. Returns the number of runs."""
    folders, out = stage.folders(), ctx.folder.path
    for name, folder in short_names(folders).items():
        parts = EVALUATIONS if read_stage(folder) == PIPELINE else (".",)
        for part in parts:
            _write_passes(read_run(folder / part), out / name / part)
    ctx.print(f"samples: {out}")
    return {"runs": float(len(folders))}


def _write_passes(evaluation: Run, out: Path) -> None:
    """Write one file per pass, such as samples_mini.jsonl and samples_mini_budget_50.jsonl."""
    settings = evaluation.config["stage"]
    sampling = {"max_gen_toks": settings.get("max_new_tokens"), "temperature": settings.get("temperature")}
    passes: dict[str, list[Mapping[str, Any]]] = {}
    for row in evaluation.completions:
        if "dataset" not in row:
            text = f"{evaluation.path} is not an evaluation"
            raise RequestError(Message("stage.runs", text, "name runs of stage=evaluate or stage=pipeline"))
        suffix = "" if row["prefilled"] is None else f"_budget_{row['prefilled']}"
        # Names of data sets may contain a slash, which would make a subfolder.
        pass_name = f"{row['dataset']}{suffix}".replace("/", "_")
        passes.setdefault(pass_name, []).append(row)
    for name, rows in passes.items():
        write_lines(out / f"samples_{name}.jsonl", as_lm_eval(rows, sampling))
