"""What the engines on a Hugging Face model share: batches of requests in, completions out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from budgetrl.core.records import Completion
from budgetrl.rollout.engine import Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to write."""

    prompt: tuple[int, ...]
    seed: int
    place: tuple[int, int]
    """Index of its prompt in the call, and of its sample among the prompt's."""


def batches(prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], batch_size: int) -> list[list[Request]]:
    """All requests in batches of at most `batch_size`, longest prompts first.

    Equal prompts end up next to each other. Longest first, so that a batch that is too large for the
    device fails at once and not after an hour.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts but {len(seeds)} lists of seeds: give one list per prompt")
    requests = [
        Request(_nonempty(prompt, p), seed, (p, s))
        for p, prompt in enumerate(prompts)
        for s, seed in enumerate(seeds[p])
    ]
    requests.sort(key=lambda request: (-len(request.prompt), request.prompt))
    return [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]


def _nonempty(prompt: Sequence[int], index: int) -> tuple[int, ...]:
    if not prompt:
        raise ValueError(f"prompt {index} has no tokens: a completion needs at least one to start from")
    return tuple(prompt)


def check_sampling(sampling: Sampling, vocabulary: int) -> None:
    """Raise ValueError for settings no engine can follow."""
    if sampling.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {sampling.max_new_tokens}")
    if sampling.temperature < 0:
        raise ValueError(f"temperature must not be negative, got {sampling.temperature}")
    if strange := [i for i in sampling.stop_ids if not 0 <= i < vocabulary]:
        raise ValueError(f"stop_ids {strange} are not in the model's vocabulary of {vocabulary} tokens")


class Tape:
    """The tokens and log-probabilities of one batch, written step by step, read once at the end."""

    def __init__(self, steps: int, rows: int, device: torch.device) -> None:
        self._ids = torch.zeros(steps, rows, dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(steps, rows, device=device)
        self._steps = 0

    def write(self, rows: Tensor, ids: Tensor, logprobs: Tensor) -> None:
        """One step: `ids` and `logprobs` [n] of the batch rows `rows` [n]; the other rows have ended."""
        self._ids[self._steps].index_copy_(0, rows, ids)
        self._logprobs[self._steps].index_copy_(0, rows, logprobs)
        self._steps += 1

    def completions(self, stops: Tensor) -> list[Completion]:
        """Each row up to and with its first stop token; `stops` [V] is true at the tokens that stop.

        Raises FloatingPointError if the model gave a log-probability that is not a number.
        """
        ids = self._ids[: self._steps].t().contiguous()
        stopped = stops[ids]
        finished = stopped.any(dim=1)
        lengths = torch.where(finished, stopped.int().argmax(dim=1) + 1, self._steps).tolist()
        logprobs = self._logprobs[: self._steps].t()
        rows = zip(ids.tolist(), logprobs.tolist(), finished.tolist(), lengths, strict=True)
        return [_completion(tokens[:n], values[:n], end) for tokens, values, end, n in rows]


def _completion(ids: list[int], logprobs: list[float], finished: bool) -> Completion:
    if any(value != value for value in logprobs):
        raise FloatingPointError("the model's logits are not numbers (NaN): its weights have diverged")
    return Completion(tuple(ids), tuple(logprobs), finished)


def stop_table(stop_ids: Sequence[int], vocabulary: int, device: torch.device) -> Tensor:
    """[V] bool, true at the tokens that end a completion."""
    table = torch.zeros(vocabulary, dtype=torch.bool)
    table[list(stop_ids)] = True
    return table.to(device)


def grouped(done: Sequence[tuple[Request, Completion]], seeds: Sequence[Sequence[int]]) -> list[list[Completion]]:
    """Completions back in the order of the call: one list per prompt, one completion per seed."""
    by_place = {request.place: completion for request, completion in done}
    return [[by_place[p, s] for s in range(len(row))] for p, row in enumerate(seeds)]
