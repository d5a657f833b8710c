"""The native engine: generates with the training weights themselves.

It is fast because the batch stays full (`scheduler`), a prompt is computed once for all its samples, and the cache is
filled in place (`slots`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch

from budgetrl.core.records import Completion, Request
from budgetrl.policy.codec import TextCodec
from budgetrl.rollout.cached_programs import CachedPrograms
from budgetrl.rollout.decoder import Decoder, require_support
from budgetrl.rollout.generation import Generation
from budgetrl.rollout.local_engine import LocalEngine, admission_order, check_requests
from budgetrl.rollout.programs import RunningProgram
from budgetrl.rollout.scheduler import Job, Scheduler

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel


class NativeEngine(LocalEngine):
    """Generates with a model of the Llama family.

    It only reads the model's parameters, so training mode, dropout and hooks have no effect.
    """

    def open(self, codec: TextCodec, model: "PreTrainedModel | None" = None) -> Self:
        """See `Engine.open`. ValueError for a model that is not of the Llama family."""
        if model is not None:
            require_support(model)
        return super().open(codec, model)

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        jobs = [Job(Generation(request), on_end=_leave) for request in requests]
        scheduler = self.scheduler(min(self.settings.batch_size, len(requests)))
        for place in admission_order(requests):
            scheduler.submit(jobs[place])
        scheduler.run()
        return [job.generation.completion(self.version) for job in jobs]

    @torch.inference_mode()
    def run_programs(self, programs: Sequence[RunningProgram]) -> None:
        """See `Engine.run_programs`. Requests reuse the cache of the pieces that they continue."""
        programs = [program for program in programs if program.pending]
        if not programs:
            return
        first = [program.requests()[0] for program in programs]
        check_requests(first, self._model.config.vocab_size)
        in_order = [programs[place] for place in admission_order(first)]
        CachedPrograms(self.scheduler(self.settings.batch_size), self.version).run(in_order)

    def scheduler(self, slots: int) -> Scheduler:
        """Return a scheduler with the current weights."""
        return Scheduler(Decoder(self._model), slots, self._decode)


def _leave(_: Job) -> None:
    """Free the row: nothing follows a single request."""
