"""`python sweep_parent.py <overrides>` is `python -m budgetrl`, but for ranks that are forks of the parent, which saves
them the seconds of importing torch."""

import os
import sys

import forked
import many_runs
from budgetrl.cli import main as entry
from budgetrl.runs.folder import RunFolder
from budgetrl.settings.config import Config


def launch(config: Config, folder: RunFolder) -> int:
    def work() -> int:
        log = os.open(folder.log(0), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        return many_runs._run(folder.path, None, report=False)

    return forked.run_ranks(1, work, folder.logs / "fork")[0]


if __name__ == "__main__":
    forked.import_what_ranks_need()
    entry.launch = launch
    sys.argv[0] = "budgetrl"
    entry.main()
