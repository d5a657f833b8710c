"""The tokens and log-probabilities of one batch, recorded step by step, read once at the end."""

from collections.abc import Sequence

import torch
from torch import Tensor

from budgetrl.core.records import Completion, FinishReason


class Tape:
    """Records what a batch of `rows` completions draws in at most `steps` steps."""

    def __init__(self, steps: int, rows: int, device: torch.device) -> None:
        self._ids = torch.zeros(steps, rows, dtype=torch.int64, device=device)
        self._logprobs = torch.zeros(steps, rows, device=device)
        self._steps = 0

    def record(self, rows: Tensor, ids: Tensor, logprobs: Tensor) -> None:
        """One step: `ids` and `logprobs` [n] of the batch rows `rows` [n]; the other rows have ended."""
        self._ids[self._steps].index_copy_(0, rows, ids)
        self._logprobs[self._steps].index_copy_(0, rows, logprobs)
        self._steps += 1

    def completions(self, stops: Tensor, version: int) -> list[Completion]:
        """Each row up to and with its first stop token; `stops` [V] is true at the tokens that stop.

        `version` is that of the weights. Raises FloatingPointError if the model gave a log-probability that is
        not a number.
        """
        ids = self._ids[: self._steps].t().contiguous()
        stopped = stops[ids]
        finished = stopped.any(dim=1)
        lengths = torch.where(finished, stopped.int().argmax(dim=1) + 1, self._steps).tolist()
        logprobs = self._logprobs[: self._steps].t()
        completions = []
        for tokens, values, stop, n in zip(ids.tolist(), logprobs.tolist(), finished.tolist(), lengths, strict=True):
            reason: FinishReason = "stop" if stop else "length"
            completions.append(Completion(tuple(tokens[:n]), _numbers(values[:n]), reason, version))
        return completions


def _numbers(logprobs: list[float]) -> tuple[float, ...]:
    if any(value != value for value in logprobs):
        raise FloatingPointError("the model's logits are not numbers (NaN): its weights have diverged")
    return tuple(logprobs)


def stop_table(stop_ids: Sequence[int], vocabulary: int, device: torch.device) -> Tensor:
    """[V] bool, true at the tokens that end a completion."""
    table = torch.zeros(vocabulary, dtype=torch.bool)
    table[list(stop_ids)] = True
    return table.to(device)
