"""`report`: write tables and figures from finished runs."""

from pathlib import Path

from budgetrl.report.comparison import write_comparison
from budgetrl.report.report import write_report
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.settings.stages.report import Report


def run(stage: Report, config: Config, ctx: Context) -> dict[str, float]:
    """Write the report of one run, or a comparison of several. Returns the number of runs."""
    folders, out = stage.folders(), ctx.folder.path
    if len(folders) == 1 and not stage.by and stage.paper is None:
        path = write_report(folders[0], out=out)
    else:
        path = write_comparison(folders, out, stage.by, Path(stage.paper) if stage.paper else None)
    ctx.print(f"report: {path}")
    return {"runs": float(len(folders))}
