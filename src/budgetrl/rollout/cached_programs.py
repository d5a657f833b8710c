"""Run decoding programs in the scheduler, reusing the key-value cache from one request of a program to the next.

If a request continues the piece that has just ended, it stays in the same row of the batch. Other continuations of that
piece get a copy of the row's cache ("parked").
"""

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

from budgetrl.decoding.base import Piece
from budgetrl.rollout.generation import Generation
from budgetrl.rollout.programs import RunningProgram
from budgetrl.rollout.scheduler import Job, Scheduler
from budgetrl.rollout.slots import Parked


class CachedPrograms:
    """Runs each request of the programs as a job of one scheduler."""

    def __init__(self, scheduler: Scheduler, version: int) -> None:
        self._scheduler = scheduler
        self._version = version
        self._parked: dict[RunningProgram, WeakKeyDictionary[Piece, Parked]] = {}
        """Cache copies of pieces that an unfinished program may still continue. Weak keys: a copy is freed with its
        piece."""

    def run(self, programs: Sequence[RunningProgram]) -> None:
        """Run until every program has its answer."""
        for program in programs:
            for index, request in enumerate(program.requests()):
                # Reading the prompt for the first time is not "reading again".
                self._scheduler.submit(self._job(program, index, Generation(request), counts_reading=False))
        self._scheduler.run()

    def _job(
        self,
        program: RunningProgram,
        index: int,
        generation: Generation,
        parked: Parked | None = None,
        counts_reading: bool = True,
    ) -> Job:
        """Create the job for `program.pending[index]`."""
        on_end = partial(self._end, program, index, counts_reading)
        return Job(generation, on_end, parked=parked)

    def _end(self, program: RunningProgram, index: int, counts_reading: bool, job: Job) -> Job | None:
        """Pass a finished piece to its program. Returns the job that continues in the same row, if there is one."""
        tokens_read = job.generation.tokens_read if counts_reading else 0
        pending = program.pending
        piece = program.receive(index, job.generation.completion(self._version), tokens_read)
        # The program has not moved on: it still waits for other requests of the same list. It may continue this piece
        # later, so copy the cache before the row is given away.
        if program.pending is pending:
            if not piece.ended:
                self._parked.setdefault(program, WeakKeyDictionary())[piece] = self._scheduler.park(job)
            return None
        if program.answer is not None:
            self._parked.pop(program, None)
        return self._submit_next(program, piece, job)

    def _submit_next(self, program: RunningProgram, piece: Piece, job: Job) -> Job | None:
        """Submit the program's new requests. Returns the first that can use this row's cache, to take over the row."""
        # The row holds the whole answer up to `piece`, so it can also serve a rollback to an earlier piece of it.
        in_row = {id(ancestor) for ancestor in piece.path()}
        next_in_row: Job | None = None
        row_copy: Parked | None = None
        for index, (step, request) in enumerate(zip(program.pending, program.requests(), strict=True)):
            generation = Generation(request)
            is_in_row = step.after.parent is None or id(step.after) in in_row  # a root needs only the prompt
            if is_in_row and next_in_row is None:
                next_in_row = self._job(program, index, generation)
                continue
            if is_in_row:
                row_copy = row_copy or self._scheduler.park(job)
            parked = row_copy if is_in_row else self._parked.get(program, {}).get(step.after)
            # Started answers go first, which limits the number of unfinished answers and their cache copies.
            self._scheduler.submit(self._job(program, index, generation, parked), first=True)
        return next_in_row
