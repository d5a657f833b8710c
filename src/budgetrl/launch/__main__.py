"""`python -m budgetrl.launch <run folder>` starts a run again from its config.yaml."""

import sys
from collections.abc import Sequence
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.launch.start import relaunch
from budgetrl.launch.supervisor import print_message
from budgetrl.runs import lifeline


def main(argv: Sequence[str]) -> int:
    """What launch.sh calls, and a sweep; `argv` names the run folder. Returns the exit code."""
    lifeline.die_with_parent()
    try:
        if len(argv) != 1:
            raise RequestError("name one run folder: python -m budgetrl.launch <run folder>")
        return relaunch(Path(argv[0]))
    except RequestError as error:
        print_message(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
