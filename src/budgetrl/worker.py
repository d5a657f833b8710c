"""The program of one rank: `python -m budgetrl.worker <run folder>` runs the stage configured in the folder.

The configuration was composed and validated by the parent process; ranks only read the frozen config.yaml.

Exit codes: 0 done, 1 failed, 2 wrong input that only showed during the run, 130 interrupted, 143 stopped on request
after saving (the run can be resumed).
"""

import logging
import os
import random
import sys
import warnings
from pathlib import Path

from budgetrl.core.errors import RequestError, Unavailable
from budgetrl.core.seeds import derive_seed
from budgetrl.runs import lifeline
from budgetrl.runs.context import Context
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.progress import Progress
from budgetrl.runs.stop import Stop, Stopped
from budgetrl.runs.tracking import Tracker, TrackingSettings
from budgetrl.runs.world import SingleProcess, World
from budgetrl.settings.config import Config, read_config, to_mapping
from budgetrl.stages import execute


def main() -> None:
    """Run the rank and exit the process."""
    lifeline.die_with_parent()
    _adopt_slurm_rank()
    stop = Stop()
    stop.listen()
    code = _exit_code(Path(sys.argv[1]), stop)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: after a failure, shutting down torch.distributed would wait for ranks that are already dead.
    os._exit(code)


def run_rank(path: Path, config: Config, stop: Stop) -> None:
    """Run the stage on this rank. The main rank writes result.json at the end.

    A stage that runs no model runs on rank 0 only, without torch; other ranks return at once.
    """
    uses_model = config.stage.workload(config).uses_model
    if not uses_model and int(os.environ.get("RANK", "0")) > 0:
        return
    world = _join_ranks(config.seed) if uses_model else SingleProcess()
    folder = RunFolder(path, writes=world.is_main)
    tracking = config.tracking if uses_model else TrackingSettings(name="none")
    with Tracker.start(tracking, path, to_mapping(config), world.rank) as tracker:
        ctx = Context(world, folder, tracker, Progress(shown=world.is_main), stop)
        execute(config, ctx, before_result=lambda result: _report(config, result, ctx))


def _join_ranks(seed: int) -> World:
    """Join the other ranks and seed the random generators."""
    # Imported here, because torch takes seconds and stages without a model do not need it.
    from budgetrl.training.distributed import TorchWorld, disable_progress_bars

    disable_progress_bars()
    world = TorchWorld.join()
    seed_everything(seed, world.rank)
    return world


def _report(config: Config, result: dict[str, float], ctx: Context) -> None:
    """Write report.md and the figures, if the stage has a report."""
    if not (ctx.world.is_main and config.stage.reported):
        return
    from budgetrl.report.report import write_report

    report = write_report(ctx.folder.path, result)
    figures = {path.stem: path for path in sorted(ctx.folder.figures.glob("*.png"))}
    ctx.tracker.log_figures(figures)
    ctx.print(f"report: {report}")


def seed_everything(seed: int, rank: int) -> None:
    """Seed the global random generators, differently on each rank.

    Sampling does not use them: it has its own seeds, so that results do not depend on the number of ranks.
    """
    import numpy as np
    import torch

    value = derive_seed(seed, "rank", rank)
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)


def _exit_code(path: Path, stop: Stop) -> int:
    """Run the rank and return its exit code. Catches every exception."""
    # DeepSpeed's own calls raise this warning at every step of ZeRO 3.
    warnings.filterwarnings("ignore", r"`torch\.distributed\..*is deprecated", FutureWarning)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # INFO only for us: libraries log every request to the Hugging Face Hub at that level.
    logging.getLogger("budgetrl").setLevel(logging.INFO)
    try:
        config = read_config(path / "config.yaml")
        _redirect_output(config, path)
        run_rank(path, config, stop)
    except Stopped:
        return 143
    except KeyboardInterrupt:
        return 130
    except RequestError as error:
        sys.stderr.write(f"budgetrl: {error}\n")
        return 2
    except Unavailable as error:
        sys.stderr.write(f"budgetrl: {error}\n")
        return 1
    except Exception:
        logging.exception("the run failed")
        return 1
    return 0


def _redirect_output(config: Config, path: Path) -> None:
    """Send the output of ranks other than 0 to their log files, if the launcher would mix it (DeepSpeed's does)."""
    rank = int(os.environ.get("RANK", "0"))
    if config.launch.mixes_output and rank > 0:
        log = RunFolder(path).log(rank)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as file:
            # Redirect the file descriptors, not just sys.stdout: NCCL and other C libraries print directly.
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())


def _adopt_slurm_rank() -> None:
    """Set torch's rank variables from SLURM's, if srun started this process."""
    # MASTER_ADDR is set by our batch script. Without it, this is a single process inside someone's SLURM allocation.
    if "RANK" not in os.environ and "SLURM_PROCID" in os.environ and "MASTER_ADDR" in os.environ:
        for torch_name, slurm_name in _SLURM_VARIABLES.items():
            os.environ[torch_name] = os.environ[slurm_name]


_SLURM_VARIABLES = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}


if __name__ == "__main__":
    main()
