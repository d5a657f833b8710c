"""The verifier compares answers in worker processes, and kills and replaces a worker that hangs or dies.

A worker is a new interpreter rather than a `multiprocessing` child. The latter would import the main program again;
in a training rank that means torch and DeepSpeed, only to compare two numbers.
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
"""Seconds a worker may take to start and import math-verify. Generous, because cluster file systems can be slow."""
START_ATTEMPTS = 3
"""Workers in a row that may fail to start before grading gives up."""
LONGEST_ANSWER = 1000
"""Maximum characters of a marked answer. Longer ones count as unreadable without asking math-verify."""
LONGEST_TAIL = 4000
"""Characters at the end of a response in which math-verify looks for an answer if none is marked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking one answer."""

    correct: bool
    parsed: bool
    """Whether an answer could be parsed from the response."""
    timed_out: bool
    """Whether checking was stopped at the deadline."""
    answer: str | None = field(default=None, compare=False)
    """The answer in canonical form, for counting votes; None if none was found or checking failed."""


UNREADABLE = Verdict(correct=False, parsed=False, timed_out=False)
TIMED_OUT = Verdict(correct=False, parsed=False, timed_out=True)

Job = tuple[str, str]
"""Gold answer and response, in the form that math-verify parses."""


class _Worker:
    """One worker process and the job it is working on."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connection, child_end = Pipe()
        descriptor = child_end.fileno()
        # -P and the parent's own path: the worker imports exactly the modules that the parent imports. An empty entry
        # of sys.path means the current directory.
        path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER_MODULE, str(descriptor), str(deadline)],
            pass_fds=[descriptor],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        # The child has its own copy. As long as ours is open, the death of the child would not close the pipe.
        child_end.close()
        self.job: int | None = None
        self.ready = False
        self.expires = time.monotonic() + START_DEADLINE

    @property
    def busy(self) -> bool:
        return self.job is not None or not self.ready

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def start_job(self, index: int, job: Job) -> bool:
        """Send a job to the process. Return False if the process is dead, so that another one can do the job."""
        try:
            self.connection.send(job)
        except (BrokenPipeError, ConnectionResetError):
            self.process.wait()
            return False
        self.job = index
        self.expires = time.monotonic() + self.deadline
        return True

    def receive(self) -> tuple[bool, bool, str | None] | None:
        """Return the process's answer to the job, or None if the process died."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None

    def stop(self) -> None:
        """Kill the process, whatever it is doing, and release its resources."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


class Verifier:
    r"""Grades responses against gold answers.

    The answer of a response is its last `\boxed{}`, else the number of a final `#### 72`, else what math-verify finds
    in its last 4,000 characters (the last number or formula). If the gold answer is a choice (A to J), an unmarked
    `The answer is (B)` counts too. Integers and choices are compared directly. Everything else is sent to `workers`
    processes, which are started when first needed.

    An answer that is not checked within `deadline` seconds counts as wrong and timed out. An answer that crashes two
    processes counts as wrong and not parsed. In both cases the process is replaced, and no other answer is lost.

    Thread-safe; one thread grades at a time. Use it as a context manager, or call `close()`.

    >>> with Verifier() as verifier:
    ...     verifier.grade([("72", r"So it is \boxed{72}.")])
    [Verdict(correct=True, parsed=True, timed_out=False, answer='72')]
    """

    def __init__(self, workers: int = 1, deadline: float = 5.0) -> None:
        """Start no processes yet. Raises ValueError if `workers` or `deadline` is not positive."""
        if workers < 1:
            raise ValueError(f"workers: must be at least 1, got {workers}")
        if deadline <= 0:
            raise ValueError(f"deadline: must be a positive number of seconds, got {deadline}")
        self._max_workers = workers
        self._deadline = deadline
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all workers. A later call to `grade` starts new ones."""
        with self._lock:
            while self._workers:
                self._workers.pop().stop()

    def grade(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        r"""Return a verdict for each pair of a gold answer (without `\boxed`) and a response text, in order.

        Raises:
            RuntimeError: if workers cannot be started.
        """
        checked = [_check_directly(gold, text) for gold, text in pairs]
        verdicts: dict[Job, Verdict] = {}
        jobs: dict[Job, None] = {}  # an ordered set: equal pairs are checked only once
        for item in checked:
            if not isinstance(item, Verdict):
                jobs[item] = None
        for job, verdict in zip(jobs, self._run_jobs(list(jobs)), strict=True):
            verdicts[job] = verdict
        return [item if isinstance(item, Verdict) else verdicts[item] for item in checked]

    def can_parse(self, golds: Sequence[str]) -> list[bool]:
        """Return for each gold answer whether math-verify can parse it and finds it equal to itself."""
        verdicts = self.grade([(gold, rf"\boxed{{{gold}}}") for gold in golds])
        return [verdict.parsed and verdict.correct for verdict in verdicts]

    def _run_jobs(self, jobs: Sequence[Job]) -> list[Verdict]:
        """Return a verdict for each job. All workers run at once; jobs may finish in any order."""
        done: dict[int, Verdict] = {}  # job index -> verdict
        crashed: set[int] = set()  # jobs during which a worker died
        waiting = deque(range(len(jobs)))
        with self._lock:
            try:
                while len(done) < len(jobs):
                    self._start_workers(len(waiting))
                    self._assign_jobs(waiting, jobs)
                    for index, verdict in self._wait_for_event().items():
                        if verdict is None and index not in crashed:
                            # A first crash may have another cause, such as the out-of-memory killer. Try once more.
                            crashed.add(index)
                            waiting.append(index)
                        else:
                            done[index] = verdict or UNREADABLE
            finally:
                # Workers are busy here only after an exception or Ctrl-C. They are killed, so that their late answers
                # are not mistaken for answers to the next call.
                for worker in list(self._workers):
                    if worker.job is not None:
                        self._remove(worker)
        return [done[index] for index in range(len(jobs))]

    def _assign_jobs(self, waiting: deque[int], jobs: Sequence[Job]) -> None:
        """Give a waiting job to each idle worker."""
        for worker in self._workers:
            if waiting and not worker.busy and worker.start_job(waiting[0], jobs[waiting[0]]):
                waiting.popleft()

    def _start_workers(self, waiting: int) -> None:
        """Remove idle workers that died, and start as many workers as the waiting jobs can use."""
        for worker in list(self._workers):
            if not worker.busy and not worker.alive:
                self._remove(worker)
        # Workers that are still starting count as idle: they will take a job as soon as they are ready.
        idle = sum(worker.job is None for worker in self._workers)
        for _ in range(min(self._max_workers - len(self._workers), waiting - idle)):
            self._workers.append(_Worker(self._deadline))

    def _wait_for_event(self) -> dict[int, Verdict | None]:
        """Wait for an answer, a death or a deadline. Return the verdicts of the jobs that ended; None after a death."""
        busy = [worker for worker in self._workers if worker.busy]
        seconds_left = min((worker.expires for worker in busy), default=0.0) - time.monotonic()
        # A pipe is ready if its worker has sent something or died.
        ready = wait([worker.connection for worker in busy], max(seconds_left, 0.0))
        now = time.monotonic()
        ended: dict[int, Verdict | None] = {}
        for worker in busy:
            if worker.connection in ready:
                ended |= self._receive(worker)
            elif now >= worker.expires:
                ended |= self._discard(worker, TIMED_OUT)
        return ended

    def _receive(self, worker: _Worker) -> dict[int, Verdict | None]:
        """Handle a message from a worker (it is ready, or an answer) or its death."""
        answer = worker.receive()
        if answer is None:
            return self._discard(worker, None)
        if not worker.ready:  # the first message only says that the worker has started
            worker.ready = True
            self._failed_starts = 0
            return {}
        assert worker.job is not None
        index, worker.job = worker.job, None
        parsed, correct, found = answer
        return {index: Verdict(correct, parsed, timed_out=False, answer=None if found is None else canonical(found))}

    def _discard(self, worker: _Worker, verdict: Verdict | None) -> dict[int, Verdict | None]:
        """Remove a worker that hangs or died. Its job, if any, ends with `verdict`."""
        self._remove(worker)
        if worker.job is not None:
            return {worker.job: verdict}
        # It had no job, so it failed to start.
        self._failed_starts += 1
        if self._failed_starts >= START_ATTEMPTS:
            self._failed_starts = 0
            raise RuntimeError(
                f"{START_ATTEMPTS} verifier processes in a row did not start (exit code {worker.process.returncode});"
                f" see their error on stderr, and try `{sys.executable} -c 'import math_verify'`"
            )
        return {}

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.stop()


def _check_directly(gold: str, text: str) -> Verdict | Job:
    """The verdict if no math-verify is needed, else the job for a worker."""
    gold, answer = trim(gold), marked_answer(text)
    if answer is None and as_choice(gold):
        answer = named_choice(text[-LONGEST_TAIL:])
    if answer is None:
        # No marked answer: math-verify searches the end of the text.
        return (_boxed(gold), text[-LONGEST_TAIL:]) if text.strip() else UNREADABLE
    if not answer or len(answer) > LONGEST_ANSWER:
        return UNREADABLE
    correct = compare_simple(gold, answer)
    if correct is None:
        return _boxed(gold), _boxed(answer)
    return Verdict(correct, True, False, canonical(answer))


def _boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


@contextmanager
def open_verifier(ctx: Context) -> Iterator[Verifier]:
    """Open a verifier with one worker per core, divided among the ranks."""
    with Verifier(workers=max(1, count_cores() // ctx.world.size)) as verifier:
        yield verifier
