"""Running programs in the scheduler: a piece goes on in the row of the one before, and forks copy its cache."""

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

from budgetrl.decoding.base import Piece
from budgetrl.rollout.generation import Generation
from budgetrl.rollout.programs import RunningProgram
from budgetrl.rollout.scheduler import Job, Scheduler
from budgetrl.rollout.slots import Parked


class CachedPrograms:
    """Programs whose requests are jobs of one scheduler."""

    def __init__(self, scheduler: Scheduler, version: int) -> None:
        self._scheduler = scheduler
        self._version = version
        self._parked: WeakKeyDictionary[Piece, Parked] = WeakKeyDictionary()
        """The cache of pieces that their programs may go on from. It is given up with the piece."""

    def run(self, programs: Sequence[RunningProgram]) -> None:
        """Bring all programs to their answers."""
        for program in programs:
            for place, request in enumerate(program.requests()):
                self._scheduler.submit(self._job(program, place, Generation(request), counts_reading=False))
        self._scheduler.run()

    def _job(
        self,
        program: RunningProgram,
        place: int,
        generation: Generation,
        parked: Parked | None = None,
        counts_reading: bool = True,
    ) -> Job:
        on_end = partial(self._end, program, place, counts_reading)
        return Job(generation, on_end, parked=parked)

    def _end(self, program: RunningProgram, place: int, counts_reading: bool, job: Job) -> Job | None:
        """Hand a piece to its program. Returns the request that goes on in the same row, if there is one."""
        tokens_read = job.generation.tokens_read if counts_reading else 0
        asked = program.asked
        piece = program.receive(place, job.generation.completion(self._version), tokens_read)
        if program.asked is asked:  # it waits for others that were asked for together with this one
            if not piece.ended:
                self._parked[piece] = self._scheduler.park(job)
            return None
        return self._go_on(program, piece, job)

    def _go_on(self, program: RunningProgram, piece: Piece, job: Job) -> Job | None:
        """Submit what a program asks for next. The first request that this row's cache serves takes over the row."""
        in_row = {id(ancestor) for ancestor in piece.path()}
        next_in_row: Job | None = None
        copy: Parked | None = None
        for place, (asked, request) in enumerate(zip(program.asked, program.requests(), strict=True)):
            after, generation = asked.after, Generation(request)
            is_in_row = after.parent is None or id(after) in in_row
            if is_in_row and next_in_row is None:
                next_in_row = self._job(program, place, generation)
                continue
            if is_in_row:
                copy = copy or self._scheduler.park(job)
            parked = copy if is_in_row else self._parked.get(after)
            # Before those that have not begun, so that few answers are under way at a time.
            self._scheduler.submit(self._job(program, place, generation, parked), first=True)
        return next_in_row
