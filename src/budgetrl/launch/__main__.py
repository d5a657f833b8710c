"""`python -m budgetrl.launch <run folder>` starts or resumes a run from its config.yaml."""

import sys
from collections.abc import Sequence
from pathlib import Path

from budgetrl.core.errors import RequestError
from budgetrl.launch.start import relaunch
from budgetrl.launch.supervisor import print_message
from budgetrl.runs import lifeline


def main(argv: Sequence[str]) -> int:
    """Start or resume the run in the folder named by `argv`, and return the exit code. launch.sh and sweeps call it."""
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
