"""The verifier: sends answers to worker processes, and kills and replaces a worker that hangs.

A worker is a fresh interpreter, not a `multiprocessing` child: the latter imports the main program
again, which for a training rank is torch and DeepSpeed, only to compare two numbers.
"""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Self

from budgetrl.grading.answers import as_choice, canonical, compare_simple, marked_answer, named_choice, trim
from budgetrl.runs.context import Context
from budgetrl.runs.machine import count_cores

WORKER_MODULE = "budgetrl.grading.worker"
START_DEADLINE = 120.0
"""Seconds a worker may take to import math-verify; long, because cluster file systems are slow."""
START_ATTEMPTS = 3
"""Workers in a row that may die before they are ready (killed for someone else's memory, say)."""
LONGEST_ANSWER = 1000
"""Characters of a marked answer; longer ones are no answers, and only cost time to refuse."""
LONGEST_TAIL = 4000
"""Characters from the end of a response without a marked answer in which math-verify looks for one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one answer."""

    correct: bool
    parsed: bool
    """Whether an answer could be read from the response."""
    timed_out: bool
    """Whether checking was given up at the deadline."""
    answer: str | None = field(default=None, compare=False)
    """The answer in one writing of many, where one was found and checked."""


UNREADABLE = Verdict(correct=False, parsed=False, timed_out=False)
TIMED_OUT = Verdict(correct=False, parsed=False, timed_out=True)

Job = tuple[str, str]
"""Gold answer and response, as math-verify is to read them."""


class _Worker:
    """One verify process and what it is doing."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connection, theirs = Pipe()
        descriptor = theirs.fileno()
        # -P and the parent's own path: the worker finds exactly the modules that the parent finds.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER_MODULE, str(descriptor), str(deadline)],
            pass_fds=[descriptor],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self.job: int | None = None
        self.ready = False
        self.expires = time.monotonic() + START_DEADLINE

    @property
    def busy(self) -> bool:
        return self.job is not None or not self.ready

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def take(self, index: int, job: Job) -> bool:
        """Start on a job; False if the process turns out to be dead, so that another can have the job."""
        try:
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            self.process.wait()
            return False
        self.job = index
        self.expires = time.monotonic() + self.deadline
        return True

    def read(self) -> tuple[bool, bool, str | None] | None:
        """The answer to the job, or None if the process died over it."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None

    def stop(self) -> None:
        """Kill the process, whatever it does, and take back its resources."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


class Verifier:
    r"""Grades responses against gold answers.

    The response's last `\boxed{}` is its answer, else the number of a final `#### 72`, else what
    math-verify finds in its last 4,000 characters (the last number or formula). Plain integers are
    compared at once, as are choices (A to J; a gold choice also takes an unmarked `The answer is (B)`);
    everything else goes to `workers` processes, started when first needed. An answer not
    checked after `deadline` seconds counts as wrong and timed out; one that crashes two processes, as
    wrong and not parsed. Either way the process is replaced and no other answer is lost.

    Safe to use from several threads (one grades at a time). Use as a context manager, or `close()`.

    >>> with Verifier() as verifier:
    ...     verifier.grade([("72", r"So it is \boxed{72}.")])
    [Verdict(correct=True, parsed=True, timed_out=False, answer='72')]
    """

    def __init__(self, workers: int = 1, deadline: float = 5.0) -> None:
        """Raises ValueError if there is no worker or no time."""
        if workers < 1:
            raise ValueError(f"workers: must be at least 1, got {workers}")
        if deadline <= 0:
            raise ValueError(f"deadline: must be a positive number of seconds, got {deadline}")
        self._most_workers = workers
        self._deadline = deadline
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers. Grading again starts new ones."""
        with self._lock:
            while self._workers:
                self._workers.pop().stop()

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        r"""A verdict for each pair of a gold answer (without `\boxed`) and a response text, in order.

        Raises RuntimeError if workers cannot be started at all.
        """
        settled: list[Verdict | Job] = [_settle_or_prepare(gold, text) for gold, text in pairs]
        jobs = list(dict.fromkeys(item for item in settled if not isinstance(item, Verdict)))
        verdicts = dict(zip(jobs, self._check_all(jobs), strict=True))
        graded = [item if isinstance(item, Verdict) else verdicts[item] for item in settled]
        assert len(graded) == len(pairs)
        return graded

    def can_parse(self, golds: Sequence[str]) -> list[bool]:
        """For each gold answer, whether math-verify reads it as a value and finds it equal to itself."""
        verdicts = self.grade([(gold, rf"\boxed{{{gold}}}") for gold in golds])
        return [verdict.parsed and verdict.correct for verdict in verdicts]

    def _check_all(self, jobs: Sequence[Job]) -> list[Verdict]:
        """A verdict for each job: all workers at once, in whatever order they finish."""
        done: dict[int, Verdict] = {}
        died: set[int] = set()
        waiting = deque(range(len(jobs)))
        with self._lock:
            try:
                while len(done) < len(jobs):
                    self._staff(len(waiting))
                    self._hand_out(waiting, jobs)
                    for index, verdict in self._collect().items():
                        if verdict is None and index not in died:
                            # Once may be somebody else's doing (such as the out-of-memory killer's).
                            died.add(index)
                            waiting.append(index)
                        else:
                            done[index] = verdict or UNREADABLE
            finally:
                # Only after an error or Ctrl-C: a late answer must not be taken for the next call's.
                for worker in [w for w in self._workers if w.job is not None]:
                    self._dismiss(worker)
        return [done[index] for index in range(len(jobs))]

    def _hand_out(self, waiting: deque[int], jobs: Sequence[Job]) -> None:
        """Give a waiting job to each worker that is free."""
        for worker in self._workers:
            if waiting and not worker.busy and worker.take(waiting[0], jobs[waiting[0]]):
                waiting.popleft()

    def _staff(self, waiting: int) -> None:
        """Replace idle workers that died, and start as many as the waiting jobs can use."""
        for worker in [w for w in self._workers if not w.busy and not w.alive]:
            self._dismiss(worker)
        idle = sum(worker.job is None for worker in self._workers)
        for _ in range(min(self._most_workers - len(self._workers), waiting - idle)):
            self._workers.append(_Worker(self._deadline))

    def _collect(self) -> dict[int, Verdict | None]:
        """Wait for the next event (an answer, a death, a deadline); the jobs it ended, None if by a death."""
        busy = [worker for worker in self._workers if worker.busy]
        patience = min((worker.expires for worker in busy), default=0.0) - time.monotonic()
        spoke = wait([worker.connection for worker in busy], max(patience, 0.0))
        now = time.monotonic()
        ended: dict[int, Verdict | None] = {}
        for worker in busy:
            if worker.connection in spoke:
                ended |= self._hear(worker)
            elif now >= worker.expires:
                ended |= self._give_up(worker, TIMED_OUT)
        return ended

    def _hear(self, worker: _Worker) -> dict[int, Verdict | None]:
        """Take what a worker says: that it is ready, its answer, or (by its pipe's end) that it died."""
        answer = worker.read()
        if answer is None:
            return self._give_up(worker, None)
        if not worker.ready:
            worker.ready = True
            self._failed_starts = 0
            return {}
        assert worker.job is not None
        index, worker.job = worker.job, None
        parsed, correct, found = answer
        return {index: Verdict(correct, parsed, timed_out=False, answer=None if found is None else canonical(found))}

    def _give_up(self, worker: _Worker, verdict: Verdict | None) -> dict[int, Verdict | None]:
        """Drop a worker that hangs or died; the job it was at, if it was at one, ends with `verdict`."""
        self._dismiss(worker)
        if worker.job is not None:
            return {worker.job: verdict}
        self._failed_starts += 1
        if self._failed_starts >= START_ATTEMPTS:
            self._failed_starts = 0
            raise RuntimeError(
                f"{START_ATTEMPTS} verify workers did not start (exit code {worker.process.returncode});"
                f" their own error is on stderr. Does `{sys.executable} -c 'import math_verify'` work?"
            )
        return {}

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.stop()


def _settle_or_prepare(gold: str, text: str) -> Verdict | Job:
    """The verdict where it is plain, else the two texts that math-verify is to compare."""
    gold, answer = trim(gold), marked_answer(text)
    if answer is None and as_choice(gold):
        answer = named_choice(text[-LONGEST_TAIL:])
    if answer is None:
        return (_boxed(gold), text[-LONGEST_TAIL:]) if text.strip() else UNREADABLE
    if not answer or len(answer) > LONGEST_ANSWER:
        return UNREADABLE
    correct = compare_simple(gold, answer)
    return (_boxed(gold), _boxed(answer)) if correct is None else Verdict(correct, True, False, canonical(answer))


def _boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


@contextmanager
def open_verifier(ctx: Context) -> Iterator[Verifier]:
    """A verifier with this rank's share of the cores."""
    with Verifier(workers=max(1, count_cores() // ctx.world.size)) as verifier:
        yield verifier
