"""Continuous batching: jobs join, leave, continue and roll back at any step, so the batch stays full."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from budgetrl.core.records import Request, Sampling
from budgetrl.rollout.decoder import Decoder
from budgetrl.rollout.draws import Distributions, Noise, draw, draw_from
from budgetrl.rollout.generation import Decode, Generation, OnTokens
from budgetrl.rollout.interventions import Intervention, StepRows
from budgetrl.rollout.slots import MIN_ROOM, Parked, SlotCache

PREFILL_TOKENS = 8192
"""Maximum prompt tokens per forward pass: enough to keep any device busy, few enough for a large MLP's memory."""

FREE_SHARE = 1 / 8
"""Share of the slots that must be free before waiting jobs join. Joining costs an extra forward pass."""

COMPACT_SHARE = 1 / 10
"""Share of the rows that must be free before the remaining ones are packed. Packing copies keys and values."""


@dataclass(eq=False)
class Job:
    """A generation in the scheduler, and what to do when it ends."""

    generation: Generation
    on_end: "Callable[[Job], Job | None]"
    """Called once, when the job ends. May return a job to continue in the same row: its prompt must be a prefix of this
    job's prompt and tokens, because the row's cache is reused."""
    on_tokens: OnTokens | None = None
    parked: Parked | None = None
    """Keys and values of the prompt without its last token, if known. May hold more tokens, which are ignored."""

    @property
    def request(self) -> Request:
        return self.generation.request


class Scheduler:
    """Decodes jobs with one model, up to `slots` of them at a time. The others wait.

    The state of a running job is its row in the cache, which holds all its tokens but the last one, and that last token
    in `_next_ids`. A step feeds this token to the model and samples the next one.

    A step computes rows 0 to n - 1. When a job ends, its row is free but still computed, until a waiting job takes it
    or the remaining rows are packed.
    """

    def __init__(self, decoder: Decoder, slots: int, decode: Decode) -> None:
        device = decoder.layout.device
        self._decoder = decoder
        self._decode = decode
        self._device = device
        self._cache = SlotCache(decoder.layout, slots)
        self._noise = Noise(slots, device)
        self._rows: list[Job | None] = []
        """The job of each computed row; None where it is free."""
        self._waiting: deque[Job] = deque()
        self._next_ids = torch.zeros(0, dtype=torch.int64, device=device)
        """The last token of each row, which the next step feeds to the model. It is not in the cache yet."""
        self._steps_per_check = steps_per_check(device)
        self._distributions: Distributions | float = 1.0
        """The temperature, if all rows share it and use the full distribution; otherwise settings per row."""
        self._seen: Tensor | None = None
        """[slots, V] bool: the tokens in each row; None if no row has a repetition penalty."""
        self._forces = False
        """Whether any running request has forced tokens."""
        self._interventions: list[tuple[Intervention, list[int]]] = []
        """Each intervention with the rows it applies to."""

    @property
    def is_idle(self) -> bool:
        """Whether no job is running or waiting."""
        return not self._waiting and not any(self._rows)

    @property
    def cache_columns(self) -> int:
        """Number of tokens per slot that memory is currently allocated for."""
        return self._cache.columns

    def submit(self, job: Job, first: bool = False) -> None:
        """Queue a job. With `first` it goes to the front of the queue."""
        if first:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)

    def park(self, job: Job) -> Parked:
        """Return a copy of a running job's keys and values, so that other jobs can continue from it."""
        return self._cache.park(self._rows.index(job))

    def cancel(self, job: Job) -> None:
        """Abort a job that is waiting or running. Its tokens so far stay in its generation; `on_end` is not called."""
        if job in self._waiting:
            self._waiting.remove(job)
        else:
            row = self._rows.index(job)
            self._rows[row] = None
            self._cache.free([row])
            self._update_settings()
            self._close_gaps()
        job.generation.finish_reason = "aborted"

    def run(self) -> None:
        """Run until all jobs have ended, including those that `on_end` returned."""
        while not self.is_idle:
            self.advance()

    def advance(self) -> None:
        """Admit waiting jobs, sample the next token of every running job, and remove the jobs that have ended.

        On an accelerator, several steps run before the host reads the tokens. Tokens after a job's end are dropped.
        """
        self._admit()
        steps = [self._step(number) for number in range(self._steps_per_check)]
        ids = _joined([step_ids for step_ids, _ in steps])
        logprobs = _joined([step_logprobs for _, step_logprobs in steps])
        ended = self._note_tokens(ids.tolist(), logprobs.tolist())
        if ended:
            self._end(ended)
            self._close_gaps()

    # One step.

    def _step(self, number: int) -> tuple[Tensor, Tensor]:
        """Sample the next token of every row. Returns ids [n] and log-probabilities [n].

        `number` is the index of the step since the host last read tokens.
        """
        rows = len(self._rows)
        edit = partial(self._edit_hidden, number) if self._interventions else None
        logits = self._decoder.step(self._next_ids, self._cache, edit)
        logits = self._edit_logits(logits, number)
        uniforms = self._noise.take(rows)
        if isinstance(self._distributions, Distributions):
            seen = None if self._seen is None else self._seen[:rows]
            ids, logprobs = draw_from(logits, uniforms, self._distributions, seen)
        else:
            ids, logprobs = draw(logits, uniforms, self._distributions)
        ids = self._with_forced(ids, number)
        self._next_ids = ids
        if self._seen is not None:
            self._seen[:rows].scatter_(1, ids[:, None], True)
        return ids, logprobs

    def _with_forced(self, ids: Tensor, number: int) -> Tensor:
        """Return the sampled tokens, replaced by the forced token in rows that have one at this position."""
        if not self._forces:
            return ids
        rows: list[int] = []
        forced: list[int] = []
        for row, job in enumerate(self._rows):
            if job is not None and len(job.generation.token_ids) + number < len(job.request.forced_ids):
                rows.append(row)
                forced.append(job.request.forced_ids[len(job.generation.token_ids) + number])
        if not rows:
            return ids
        return ids.index_copy(0, self._on_device(rows), self._on_device(forced))

    def _edit_hidden(self, number: int, layer: int, hidden: Tensor) -> Tensor:
        for intervention, rows in self._interventions:
            if layer in intervention.layers:
                index = self._on_device(rows)
                edited = intervention.edit_hidden(layer, hidden[index], self._step_rows(rows, number))
                hidden = hidden.index_copy(0, index, edited.to(hidden.dtype))
        return hidden

    def _edit_logits(self, logits: Tensor, number: int) -> Tensor:
        for intervention, rows in self._interventions:
            index = self._on_device(rows)
            edited = intervention.edit_logits(logits[index], self._step_rows(rows, number))
            logits = logits.index_copy(0, index, edited.to(logits.dtype))
        return logits

    def _step_rows(self, rows: Sequence[int], number: int) -> StepRows:
        jobs = [self._job(row) for row in rows]
        lengths = [len(job.generation.token_ids) + number for job in jobs]
        return StepRows([job.request for job in jobs], self._on_device(lengths))

    # Joining.

    def _admit(self) -> None:
        """Start waiting jobs, if enough slots are free to make the extra forward pass worthwhile."""
        running = sum(job is not None for job in self._rows)
        joining = min(self._cache.slots - running, len(self._waiting))
        if joining == 0 or joining < min(len(self._waiting), FREE_SHARE * self._cache.slots):
            return
        # Rows stay in the order in which jobs joined, so that neighboring rows have similar lengths (see `SlotCache`).
        self._close_gaps_in_order()
        rows = list(range(running, running + joining))
        self._rows += [self._waiting.popleft() for _ in rows]
        self._next_ids = torch.cat((self._next_ids, self._next_ids.new_zeros(joining)))
        self._prepare_positions(rows)
        # Prompts are read without their last token, which the first step feeds to the model.
        self._cache.occupy(rows, [len(self._job(row).request.prompt_ids) - 1 for row in rows])
        for row in rows:
            if parked := self._job(row).parked:
                self._cache.restore(row, parked)
        self._read_prompts([row for row in rows if self._job(row).parked is None])
        for row in rows:
            self._job(row).parked = None  # jobs may live on after their end; their copies must not
        self._share_prompt(rows[-1])
        self._begin(rows)

    def _prepare_positions(self, rows: Sequence[int]) -> None:
        """Prepare the decoder for the longest sequences that these rows can reach."""
        for row in rows:
            request = self._job(row).request
            longest = len(request.prompt_ids) + len(request.forced_ids) + request.sampling.max_new_tokens
            # A free row is still computed for a while, at positions beyond the end of its sequence.
            self._decoder.reach(longest + max(MIN_ROOM, longest // 2))

    def _read_prompts(self, rows: Sequence[int]) -> None:
        """Compute the prompts of rows. Adjacent rows with the same prompt share one computation."""
        groups: list[tuple[tuple[int, ...], list[int]]] = []
        for prompt, sharing in itertools.groupby(rows, key=lambda row: self._job(row).request.prompt_ids[:-1]):
            if prompt:
                groups.append((prompt, list(sharing)))
        groups.sort(key=lambda group: len(group[0]), reverse=True)
        while groups:
            count = max(1, PREFILL_TOKENS // len(groups[0][0]))
            self._prefill(groups[:count])
            groups = groups[count:]

    def _prefill(self, groups: Sequence[tuple[tuple[int, ...], list[int]]]) -> None:
        """Compute several prompts in one forward pass, and store each in the rows that share it."""
        rows: list[int] = []
        owners: list[int] = []
        for owner, (prompt, sharing) in enumerate(groups):
            rows += sharing
            owners += [owner] * len(sharing)
            self._job(sharing[0]).generation.tokens_read = len(prompt)
        ids, lengths = right_padded([prompt for prompt, _ in groups], self._device)
        self._decoder.prefill(ids, self._cache, self._cache.source(rows, owners, lengths, ids.shape[1]))

    def _share_prompt(self, row: int) -> None:
        """Give the prompt of the last admitted row to the waiting jobs of its group, which come next."""
        prompt = self._job(row).request.prompt_ids
        parked: Parked | None = None
        for job in self._waiting:
            if job.request.prompt_ids != prompt or job.parked is not None:
                return
            parked = parked or self._cache.park(row)
            job.parked = parked

    def _begin(self, rows: Sequence[int]) -> None:
        """Set up rows whose prompts are in the cache."""
        requests = [self._job(row).request for row in rows]
        self._next_ids[self._on_device(rows)] = self._on_device([request.prompt_ids[-1] for request in requests])
        seeds = [request.seed for request in requests]
        positions = [request.position for request in requests]
        self._noise.set_rows(rows, seeds, positions)
        self._update_settings()

    def _update_settings(self) -> None:
        """Recompute everything that depends on which jobs are running: sampling settings, penalties, interventions."""
        running = [(row, job) for row, job in enumerate(self._rows) if job is not None]
        samplings = {job.request.sampling for _, job in running}
        temperatures = {float(sampling.temperature) for sampling in samplings}
        if len(temperatures) <= 1 and all(sampling.is_plain for sampling in samplings):
            self._distributions = temperatures.pop() if temperatures else 1.0
        else:
            of_rows = [job.request.sampling if job else Sampling(1) for job in self._rows]
            self._distributions = Distributions.of(of_rows, self._decoder.vocabulary, self._device)
        self._forces = any(job.request.forced_ids for _, job in running)
        self._seen = None
        if any(sampling.repetition_penalty != 1 for sampling in samplings):
            self._seen = self._seen_tokens(running)
        rows_by_intervention: dict[Intervention, list[int]] = {}
        for row, job in running:
            for intervention in job.generation.interventions:
                rows_by_intervention.setdefault(intervention, []).append(row)
        self._interventions = list(rows_by_intervention.items())

    def _seen_tokens(self, running: Sequence[tuple[int, Job]]) -> Tensor:
        seen = torch.zeros(self._cache.slots, self._decoder.vocabulary, dtype=torch.bool, device=self._device)
        for row, job in running:
            seen[row, self._on_device([*job.request.prompt_ids, *job.generation.token_ids])] = True
        return seen

    # Leaving.

    def _note_tokens(self, ids: Sequence[int], logprobs: Sequence[float]) -> list[int]:
        """Append the new tokens [steps * rows] to their jobs. Returns the rows whose jobs have ended."""
        rows = len(self._rows)
        ended: list[int] = []
        for row, job in enumerate(self._rows):
            if job is None:
                continue
            generation = job.generation
            known = len(generation.token_ids)
            for place in range(row, len(ids), rows):
                generation.append(ids[place], logprobs[place], self._decode)
                if generation.finish_reason:
                    ended.append(row)
                    break
            if job.on_tokens:
                job.on_tokens(generation.token_ids[known:], generation.logprobs[known:])
        return ended

    def _end(self, rows: Sequence[int]) -> None:
        """Call `on_end` of ended jobs, and free their rows or continue them with the jobs that it returns."""
        followed: list[int] = []
        left: list[int] = []
        for row in rows:
            following = self._job(row).on_end(self._job(row))
            self._rows[row] = following
            if following is None:
                left.append(row)
            else:
                self._cache.truncate(row, len(following.request.prompt_ids) - 1)
                followed.append(row)
        self._prepare_positions(followed)
        if left:
            self._cache.free(left)
        if followed:
            self._begin(followed)
        elif self._interventions:  # they list rows that may be free now
            self._update_settings()

    def _close_gaps(self) -> None:
        """Move the last rows into free ones, if enough rows are free and no job is waiting for them."""
        free = [row for row, job in enumerate(self._rows) if job is None]
        if self._waiting or len(free) < max(1, COMPACT_SHARE * len(self._rows)):
            return
        kept = len(self._rows) - len(free)
        holes = [row for row in free if row < kept]
        beyond = [row for row in range(kept, len(self._rows)) if self._rows[row] is not None]
        self._move_rows(beyond, holes, kept)

    def _close_gaps_in_order(self) -> None:
        """Remove all free rows, keeping the order of the others."""
        origins: list[int] = []
        targets: list[int] = []
        kept = 0
        for row, job in enumerate(self._rows):
            if job is None:
                continue
            if row != kept:
                origins.append(row)
                targets.append(kept)
            kept += 1
        self._move_rows(origins, targets, kept)

    def _move_rows(self, origins: Sequence[int], targets: Sequence[int], kept: int) -> None:
        """Move row `origins[i]` to row `targets[i]`, and drop all rows from `kept` on."""
        if kept == len(self._rows):
            return
        if origins:
            self._cache.move_rows(origins, targets)
            self._noise.move_rows(origins, targets)
            self._next_ids[self._on_device(targets)] = self._next_ids[self._on_device(origins)]
            jobs = [self._rows[origin] for origin in origins]
            for target, job in zip(targets, jobs, strict=True):
                self._rows[target] = job
        del self._rows[kept:]
        self._next_ids = self._next_ids[:kept]
        self._update_settings()

    def _job(self, row: int) -> Job:
        """Return the job of a row that is not free."""
        job = self._rows[row]
        assert job is not None
        return job

    def _on_device(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self._device)


def _joined(steps: Sequence[Tensor]) -> Tensor:
    return steps[0] if len(steps) == 1 else torch.cat(list(steps))


def steps_per_check(device: torch.device) -> int:
    """Return how many steps run before the host reads their tokens. Reading makes the host wait for an accelerator."""
    return 1 if device.type == "cpu" else 8


def right_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return token ids [n, longest], zero after a prompt's end, and the lengths [n]."""
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids.to(device), torch.tensor(lengths).to(device)
