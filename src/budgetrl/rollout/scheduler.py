"""Continuous batching: jobs join, leave, go on and roll back at any step, and the batch stays full."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from budgetrl.core.records import Request, Sampling
from budgetrl.rollout.decoder import Decoder
from budgetrl.rollout.draws import Distributions, Noise, draw, draw_from
from budgetrl.rollout.generation import Decode, Generation, OnTokens
from budgetrl.rollout.interventions import Intervention, StepRows
from budgetrl.rollout.slots import MIN_ROOM, Parked, SlotCache

PREFILL_TOKENS = 8192
"""Prompt tokens read at once: enough to keep any device busy, few enough for the memory of a large MLP."""

FREE_SHARE = 1 / 8
"""Share of the slots that must be free before waiting jobs join: each joining costs a forward pass of its own."""

COMPACT_SHARE = 1 / 10
"""Share of the computed rows that may be free before the others move together."""


@dataclass(eq=False)
class Job:
    """A generation on its way through the batch."""

    generation: Generation
    on_end: "Callable[[Job], Job | None]"
    """Called once at its end. May return a job that goes on in the same row: one whose prompt is a beginning of this
    one's prompt and tokens, so that the cache holds it already."""
    on_tokens: OnTokens | None = None
    parked: Parked | None = None
    """The keys and values of at least all prompt tokens but the last, if they were computed before."""

    @property
    def request(self) -> Request:
        return self.generation.request


class Scheduler:
    """Decodes jobs of one model, up to `slots` of them at a time; the others wait.

    A step computes rows 0 to n - 1. Some of them may be free, until a waiting job joins or the others move together.
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
        self._next_ids = torch.zeros(slots, dtype=torch.int64, device=device)
        """The token that each row is given in the next step: not in the cache yet."""
        self._steps_per_check = steps_per_check(device)
        self._distributions: Distributions | float = 1.0
        """How rows are drawn from: the temperature of all, or settings for each."""
        self._seen: Tensor | None = None
        """[slots, V] bool: the tokens that each row holds; None where no row has a repetition penalty."""
        self._forces = False
        """Whether any running request has forced tokens."""
        self._interventions: list[tuple[Intervention, list[int]]] = []
        """What acts inside a step, and on which rows."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._waiting and not any(self._rows)

    @property
    def cache_columns(self) -> int:
        """Tokens of each slot that there is memory for at present."""
        return self._cache.columns

    def submit(self, job: Job, first: bool = False) -> None:
        """Let a job join as soon as there is a slot for it; `first`: before those that wait already."""
        if first:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)

    def park(self, job: Job) -> Parked:
        """A copy of the keys and values of a running job, for others to go on from."""
        return self._cache.park(self._rows.index(job))

    def run(self) -> None:
        """Bring all jobs, and those that follow from them, to their end."""
        while not self.is_idle:
            self.advance()

    def advance(self) -> None:
        """Let waiting jobs join, draw the next token of every running one, and let those that have ended leave.

        On an accelerator several tokens are drawn before the host looks at them. What a job draws beyond its end is
        thrown away.
        """
        self._admit()
        steps = [self._step(number) for number in range(self._steps_per_check)]
        ids = torch.cat([step_ids for step_ids, _ in steps]).tolist()
        logprobs = torch.cat([step_logprobs for _, step_logprobs in steps]).tolist()
        ended = self._note_tokens(ids, logprobs)
        if ended:
            self._end(ended)
            self._close_gaps()

    # One step.

    def _step(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw the next token of every row: ids [n], log-probabilities [n]. `number` counts from the last look."""
        rows = len(self._rows)
        edit = self._edit_hidden if self._interventions else None
        logits = self._decoder.step(self._next_ids[:rows], self._cache, edit)
        logits = self._edit_logits(logits, number)
        uniforms = self._noise.take(rows)
        if isinstance(self._distributions, float):
            ids, logprobs = draw(logits, uniforms, self._distributions)
        else:
            seen = None if self._seen is None else self._seen[:rows]
            ids, logprobs = draw_from(logits, uniforms, self._distributions, seen)
        ids = self._with_forced(ids, number)
        self._next_ids[:rows] = ids
        if self._seen is not None:
            self._seen[:rows].scatter_(1, ids[:, None], True)
        return ids, logprobs

    def _with_forced(self, ids: Tensor, number: int) -> Tensor:
        """The drawn tokens, replaced in rows whose request says what comes next."""
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

    def _edit_hidden(self, layer: int, hidden: Tensor) -> Tensor:
        for intervention, rows in self._interventions:
            if layer in intervention.layers:
                index = self._on_device(rows)
                edited = intervention.edit_hidden(layer, hidden[index], self._step_rows(rows, 0))
                hidden = hidden.index_copy(0, index, edited.to(hidden.dtype))
        return hidden

    def _edit_logits(self, logits: Tensor, number: int) -> Tensor:
        for intervention, rows in self._interventions:
            index = self._on_device(rows)
            edited = intervention.edit_logits(logits[index], self._step_rows(rows, number))
            logits = logits.index_copy(0, index, edited)
        return logits

    def _step_rows(self, rows: Sequence[int], number: int) -> StepRows:
        jobs = [self._job(row) for row in rows]
        drawn = [len(job.generation.token_ids) + number for job in jobs]
        return StepRows([job.request for job in jobs], self._on_device(drawn))

    # Joining.

    def _admit(self) -> None:
        """Let waiting jobs into free rows, once enough of these are free for it to pay."""
        running = sum(job is not None for job in self._rows)
        joining = min(self._cache.slots - running, len(self._waiting))
        if joining == 0 or joining < min(len(self._waiting), FREE_SHARE * self._cache.slots):
            return
        # Rows stay in the order in which their jobs joined, so that neighbors have similar lengths.
        self._close_gaps_in_order()
        rows = list(range(running, running + joining))
        self._rows += [self._waiting.popleft() for _ in rows]
        self._prepare_positions(rows)
        # A row's state is the cache with all its tokens but the last, and that one in `_next_ids`. So the last token
        # of a prompt is not read here, but is the first step's.
        self._cache.occupy(rows, [len(self._job(row).request.prompt_ids) - 1 for row in rows])
        for row in rows:
            if parked := self._job(row).parked:
                self._cache.restore(row, parked)
        self._read_prompts([row for row in rows if self._job(row).parked is None])
        self._share_prompt(rows[-1])
        self._begin(rows)

    def _prepare_positions(self, rows: Sequence[int]) -> None:
        """Make the decoder ready for the longest sequences that these rows can come to."""
        for row in rows:
            request = self._job(row).request
            longest = len(request.prompt_ids) + len(request.forced_ids) + request.sampling.max_new_tokens
            # A row that is free again is computed until it is used, at positions beyond its sequence's end.
            self._decoder.reach(longest + max(MIN_ROOM, longest // 2))

    def _read_prompts(self, rows: Sequence[int]) -> None:
        """Compute the prompts of rows; those that are equal and next to each other are computed once."""
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
        """Compute different prompts in one forward pass, each for the rows that share it."""
        rows: list[int] = []
        owners: list[int] = []
        for owner, (prompt, sharing) in enumerate(groups):
            rows += sharing
            owners += [owner] * len(sharing)
            self._job(sharing[0]).generation.tokens_read = len(prompt)
        ids, lengths = right_padded([prompt for prompt, _ in groups], self._device)
        self._decoder.prefill(ids, self._cache, self._cache.source(rows, owners, lengths, ids.shape[1]))

    def _share_prompt(self, row: int) -> None:
        """Keep the prompt of the last row that joined for jobs of its group that still wait."""
        prompt = self._job(row).request.prompt_ids
        parked: Parked | None = None
        for job in self._waiting:
            if job.request.prompt_ids != prompt or job.parked is not None:
                return
            parked = parked or self._cache.park(row)
            job.parked = parked

    def _begin(self, rows: Sequence[int]) -> None:
        """Set up rows whose prompts, the last token aside, are in the cache."""
        requests = [self._job(row).request for row in rows]
        self._next_ids[self._on_device(rows)] = self._on_device([request.prompt_ids[-1] for request in requests])
        seeds, positions = [request.seed for request in requests], [request.position for request in requests]
        self._noise.set_rows(rows, seeds, positions)
        self._update_settings()

    def _update_settings(self) -> None:
        """Find out again what depends on who runs: how each row is drawn from, and what acts on it."""
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
        """Hand each job its new tokens, [steps * rows], step by step. Returns the rows whose jobs have ended."""
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
        """Let jobs leave, or be followed by another in their row."""
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
        elif self._interventions:  # they name the rows that they act on
            self._update_settings()

    def _close_gaps(self) -> None:
        """Move the last rows into free ones, if many are free and nothing waits to fill them."""
        free = [row for row, job in enumerate(self._rows) if job is None]
        if self._waiting or len(free) < max(1, COMPACT_SHARE * len(self._rows)):
            return
        kept = len(self._rows) - len(free)
        holes = [row for row in free if row < kept]
        beyond = [row for row in range(kept, len(self._rows)) if self._rows[row] is not None]
        self._move_rows(beyond, holes, kept)

    def _close_gaps_in_order(self) -> None:
        """Move all rows after a free one up."""
        origins = [row for row, job in enumerate(self._rows) if job is not None]
        moved = [(origin, target) for target, origin in enumerate(origins) if origin != target]
        self._move_rows([origin for origin, _ in moved], [target for _, target in moved], len(origins))

    def _move_rows(self, origins: Sequence[int], targets: Sequence[int], kept: int) -> None:
        """Row `targets[i]` becomes what row `origins[i]` was; `kept` rows are left."""
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
        self._update_settings()

    def _job(self, row: int) -> Job:
        """The job of a row that is not free."""
        job = self._rows[row]
        assert job is not None
        return job

    def _on_device(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, device=self._device)


def steps_per_check(device: torch.device) -> int:
    """Steps between two looks at the tokens: each look makes the host wait for an accelerator."""
    return 1 if device.type == "cpu" else 8


def right_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids [n, longest], zero after a prompt's end, and the lengths [n]."""
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    return ids.to(device), torch.tensor(lengths).to(device)
