"""Start the ranks of a frozen run, show what rank 0 says, pass signals on, and end them all together.

`python -m budgetrl.launch <run folder>` starts a run again from its config.yaml, without Hydra.
"""

import math
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from budgetrl.budget.errors import RequestError
from budgetrl.config import Config, LaunchSpec, read_config
from budgetrl.run import lifeline
from budgetrl.run.folder import RunFolder, write_atomically
from budgetrl.run.machine import count_gpus, output_of

INTERRUPTED, STOPPED = 130, 143
TAIL_LINES = 20
POLL_SECONDS = 0.05
CPU_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "67108864",
}
"""Keeps glibc from giving large temporaries back to the system after each operation: up to twice as fast."""


@dataclass(frozen=True)
class Child:
    """A process to start and watch."""

    label: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    shown: bool
    """Whether its output also goes to the terminal."""
    has_ranks_below: bool = False
    """True for a launcher: signals then go to its whole process group, and all of it must end."""


def launch(config: Config, folder: RunFolder) -> int:
    """Run the frozen config of a folder to its end; with slurm: submit it. Returns the exit code.

    Raises SystemExit with that code if this process was told to stop meanwhile.
    """
    if config.launch.name == "slurm":
        return submit(folder)
    with lifeline.hold() as line:
        make = _deepspeed_launcher if config.launch.name == "deepspeed" else _local_ranks
        children = make(config.launch, folder, {lifeline.LIFELINE: str(line)})
        supervisor = Supervisor(children, config.launch.grace_seconds)
        code = supervisor.run()
    if supervisor.told_to_stop:  # whatever became of this run, none is to follow it
        raise SystemExit(code)
    return code


def check_launcher(spec: LaunchSpec, folder: RunFolder) -> None:
    """Raises RequestError if what `spec` wants to start the run with is not there, or slurm has the run already."""
    if job := queued_job(folder):
        raise RequestError(f"{folder.path}: slurm has this run already, as job {job}; `scancel {job}` would end it")
    if spec.name == "slurm" and shutil.which("sbatch") is None:
        raise RequestError("launch: slurm needs sbatch, which this machine does not have; mode=dry shows the script")


def worker_command(folder: RunFolder) -> list[str]:
    """What a rank runs."""
    return [sys.executable, "-m", "budgetrl.worker", str(folder.path.absolute())]


def _local_ranks(spec: LaunchSpec, folder: RunFolder, extra: dict[str, str]) -> list[Child]:
    ranks = spec.ranks_per_machine()
    shared = {**rank_environment(spec), **extra, "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    own = [shared | {"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(ranks)]
    return [Child(f"rank {r}", worker_command(folder), own[r], folder.log(r), shown=r == 0) for r in range(ranks)]


def _deepspeed_launcher(spec: LaunchSpec, folder: RunFolder, extra: dict[str, str]) -> list[Child]:
    environment = {**rank_environment(spec), **extra}
    command = deepspeed_command(spec, folder)
    return [Child("deepspeed", command, environment, folder.log(0), shown=True, has_ranks_below=True)]


def deepspeed_command(spec: LaunchSpec, folder: RunFolder) -> list[str]:
    """The command line of DeepSpeed's launcher."""
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--no_local_rank", "--log_level", "warning"]
    command += ["--master_port", str(_free_port())]
    if spec.hostfile:
        command += ["--hostfile", spec.hostfile]
    if spec.ranks or not spec.hostfile:
        command += _deepspeed_devices(spec)
    return [*command, "--module", "budgetrl.worker", str(folder.path.absolute())]


def _deepspeed_devices(spec: LaunchSpec) -> list[str]:
    """Name the visible GPUs where some are hidden: --num_gpus alone would count from the first of all."""
    visible = [i for i in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if i]
    if visible and not spec.hostfile:
        return ["--include", f"localhost:{','.join(visible[: spec.ranks_per_machine()])}"]
    return ["--num_gpus", str(spec.ranks_per_machine())]


def rank_environment(spec: LaunchSpec) -> dict[str, str]:
    """Settings for ranks on this machine; what the user's environment sets already stays."""
    defaults = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(spec.threads_per_rank())}
    if count_gpus() == 0:
        defaults |= CPU_MALLOC | {"DS_ACCELERATOR": "cpu"}  # DeepSpeed would look for others and warn
    environment = {key: value for key, value in defaults.items() if key not in os.environ}
    return environment | ({"OMP_NUM_THREADS": str(spec.threads)} if spec.threads else {})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Supervisor:
    """Watches processes that only make sense together."""

    def __init__(self, children: Sequence[Child], grace_seconds: float) -> None:
        self._children, self._grace = children, grace_seconds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended_at: dict[int, float] = {}
        self._asked: list[int] = []
        self._forwarded = 0
        self._deadline = float("inf")

    @property
    def told_to_stop(self) -> bool:
        """Whether a signal asked for an end."""
        return bool(self._asked)

    def run(self) -> int:
        """Start all, wait for all, and return the exit code of the run."""
        with self._hearing_signals(), ExitStack() as stack:
            for child in self._children:
                self._processes.append(stack.enter_context(_started(child)))
                threading.Thread(target=self._note_end, args=(self._processes[-1],), daemon=True).start()
            failure = self._watch()
        if failure:
            child, code = failure
            _say(_obituary(child, code))
            _log_kill(child, code)
            return code if code in (1, 2) else 1
        return self._how_it_ended()

    def _watch(self) -> tuple[Child, int] | None:
        """Wait until all have ended, one has failed, or it is time to kill; returns the one that failed."""
        while self._running():
            if failure := self._failed():
                return failure
            self._pass_signals_on()
            if time.monotonic() > self._deadline or len(self._asked) > 1:
                return None
            time.sleep(POLL_SECONDS)
        return self._failed()

    @contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM are noted here and passed on; a second one kills at once."""

        def hear(signum: int, frame: FrameType | None) -> None:
            self._asked.append(signum)

        before = {s: signal.signal(s, hear) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _running(self) -> bool:
        pairs = zip(self._children, self._processes, strict=True)
        return any(p.poll() is None or (c.has_ranks_below and _group_alive(p.pid)) for c, p in pairs)

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._ended_at[process.pid] = time.monotonic()

    def _failed(self) -> tuple[Child, int] | None:
        """The child that ended badly first: when one dies, others soon fail for want of it.

        One that stopped as told gives the others time to do so too.
        """
        pairs = zip(self._children, self._processes, strict=True)
        for child, process in sorted(pairs, key=lambda pair: self._ended_at.get(pair[1].pid, math.inf)):
            code = process.poll()
            if code in (INTERRUPTED, STOPPED) or (code is not None and code < 0 and self._asked):
                self._deadline = min(self._deadline, time.monotonic() + self._grace)
            elif code:
                return child, code
        return None

    def _pass_signals_on(self) -> None:
        for signum in self._asked[self._forwarded :]:
            self._forwarded += 1
            self._deadline = min(self._deadline, time.monotonic() + self._grace)
            for child, process in zip(self._children, self._processes, strict=True):
                _signal(process.pid, signum, whole_group=child.has_ranks_below)

    def _how_it_ended(self) -> int:
        codes = {process.returncode for process in self._processes}
        if codes == {0}:
            return 0
        if -signal.SIGKILL in codes:
            _say("killed before it could save; it resumes from its last saved state")
        interrupted = signal.SIGINT in self._asked or INTERRUPTED in codes
        _say("interrupted" if interrupted else "stopped; the same command resumes it")
        return INTERRUPTED if interrupted else STOPPED


@contextmanager
def _started(child: Child) -> Iterator[subprocess.Popen[bytes]]:
    """A running child, killed at the end; in a session of its own: the terminal's Ctrl-C reaches only us."""
    child.log.parent.mkdir(parents=True, exist_ok=True)
    with open(child.log, "ab", buffering=0) as log, ExitStack() as stack:
        out = stack.enter_context(_tee(log)) if child.shown else log.fileno()
        process = subprocess.Popen(
            child.command,
            env={**os.environ, **child.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:  # nothing of its group is left behind, such as answer-checking processes
            _signal(process.pid, signal.SIGKILL, whole_group=True)
            process.wait()


@contextmanager
def _tee(log: BinaryIO) -> Iterator[int]:
    """A file descriptor whose bytes go to our stdout and to a log: a terminal where ours is one, else a pipe."""
    source, sink = _terminal_pair() if sys.stdout.isatty() else os.pipe()
    pump = threading.Thread(target=_pump, args=(source, log), daemon=True)
    pump.start()
    try:
        yield sink
    finally:
        os.close(sink)
        pump.join()
        os.close(source)


def _terminal_pair() -> tuple[int, int]:
    """A pseudo-terminal as wide as ours that passes bytes through unchanged."""
    import fcntl
    import pty
    import termios

    source, sink = pty.openpty()
    fcntl.ioctl(sink, termios.TIOCSWINSZ, fcntl.ioctl(sys.stdout, termios.TIOCGWINSZ, b"\0" * 8))
    settings = termios.tcgetattr(sink)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(sink, termios.TCSANOW, settings)
    return source, sink


def _pump(source: int, log: BinaryIO) -> None:
    while True:
        try:
            block = os.read(source, 65536)
        except OSError:  # how a pseudo-terminal says that its other end is closed
            return
        if not block:
            return
        log.write(block)
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def _signal(pid: int, signum: int, whole_group: bool) -> None:
    with suppress(ProcessLookupError):  # it may be gone already
        (os.killpg if whole_group else os.kill)(pid, signum)


def _group_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _obituary(child: Child, code: int) -> str:
    """What to tell of a child that failed; the output of one that was shown is on the terminal already."""
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    hint = "; out of memory?" if code == -signal.SIGKILL else ""
    if child.shown:
        return f"{child.label} {how}{hint}; its log is {child.log}"
    lines = child.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join([f"{child.label} {how}{hint}; the end of {child.log}:", *(f"  {line}" for line in lines)])


def _log_kill(child: Child, code: int) -> None:
    """The last line of the log of a child that could not write one itself."""
    if code < 0:
        with open(child.log, "a") as log:
            log.write(f"\nbudgetrl: {child.label} was killed by {signal.Signals(-code).name}\n")


def slurm_script(spec: LaunchSpec, folder: RunFolder) -> str:
    """The sbatch script of a run: one task a GPU, the rendezvous on the first node."""
    path = folder.path.absolute()
    options = {
        "job-name": path.name,
        "nodes": spec.nodes,
        "ntasks-per-node": spec.ranks,
        "gpus-per-node": spec.ranks,
        "cpus-per-task": spec.threads,
        "time": spec.time,
        "signal": "TERM@120",
        "output": path / "logs" / "slurm-%j.out",
        "partition": spec.partition,
        "account": spec.account,
    }
    own = [f"#SBATCH --{key}={value}" for key, value in options.items() if value is not None]
    theirs = [line for line in spec.lines if line.startswith("#SBATCH")]
    commands = [line for line in spec.lines if not line.startswith("#SBATCH")]
    return "\n".join(["#!/bin/bash", *own, *theirs, "", *commands, *_slurm_body(spec, folder)]) + "\n"


def _slurm_body(spec: LaunchSpec, folder: RunFolder) -> list[str]:
    logs = shlex.quote(str(folder.path.absolute() / "logs" / "rank%t.log"))
    return [
        f"cd {shlex.quote(str(Path.cwd()))}",
        'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
        f"export OMP_NUM_THREADS={spec.threads or '${SLURM_CPUS_PER_TASK:-1}'}",
        "export PYTHONUNBUFFERED=1",
        f"srun --kill-on-bad-exit=1 --open-mode=append --output={logs} {shlex.join(worker_command(folder))}",
    ]


def slurm_path(folder: RunFolder) -> Path:
    """Where the sbatch script of a run lies."""
    return folder.path / "slurm.sh"


def submit(folder: RunFolder) -> int:
    """Hand the run's script to sbatch, and keep the job's number. Returns 0, or 1 if sbatch refused it."""
    folder.logs.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["sbatch", "--parsable", str(slurm_path(folder))], capture_output=True, text=True)
    if done.returncode:
        _say((done.stdout + done.stderr).strip())
        return 1
    job = done.stdout.strip().partition(";")[0]  # a cluster's name may follow
    write_atomically(_job_path(folder), job)
    _say(f"submitted as slurm job {job}; its output goes to {folder.logs}")
    return 0


def queued_job(folder: RunFolder) -> str | None:
    """The number of the run's slurm job while that waits or runs; None if slurm knows of none, or is not here."""
    if not _job_path(folder).exists():
        return None
    job = _job_path(folder).read_text()
    return job if output_of("squeue", "--noheader", "--jobs", job) else None


def _job_path(folder: RunFolder) -> Path:
    return folder.path / "slurm_job.txt"


def launch_script(folder: RunFolder, argv: Sequence[str]) -> str:
    """The content of launch.sh, which starts exactly this run again."""
    made_by = shlex.join(["budgetrl", *argv]).replace("\n", " ")  # a comment is one line
    return "\n".join(
        [
            "#!/bin/sh",
            "# Starts this run again from its config.yaml: resumed if it is unfinished, left alone if it is done.",
            f"# It was made by: {made_by}",
            f"cd {shlex.quote(str(Path.cwd()))} || exit 1",
            f"exec {shlex.join([sys.executable, '-m', 'budgetrl.launch', str(folder.path.absolute())])}",
            "",
        ]
    )


def relaunch(path: Path) -> int:
    """Start the run of a folder that has been prepared before. Returns the exit code."""
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise RequestError(f"{path}: is no run folder, since it has no config.yaml")
    config = read_config(folder.config)
    if folder.finished and not config.stage.always_runs:
        _say(f"already done: {folder.result}")
        return 0
    check_launcher(config.launch, folder)
    with folder.lock():
        folder.result.unlink(missing_ok=True)
        return launch(config, folder)


def main(argv: Sequence[str]) -> int:
    """What launch.sh calls, and a sweep; `argv` names the run folder. Returns the exit code."""
    lifeline.follow()
    try:
        if len(argv) != 1:
            raise RequestError("name one run folder: python -m budgetrl.launch <run folder>")
        return relaunch(Path(argv[0]))
    except RequestError as error:
        _say(str(error))
        return 2


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"budgetrl: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
