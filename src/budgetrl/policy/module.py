"""Log-probabilities of completion tokens, without ever holding [tokens, vocabulary] for a whole batch."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from budgetrl.core.errors import RequestError
from budgetrl.planning.model_config import LOGITS_PER_CHUNK

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel


class PolicyModule(nn.Module):
    """Wraps a causal language model so that its forward gives log-probabilities, not logits.

    DeepSpeed wraps this module, so that ZeRO-3 gathers the output layer as it does every other.
    """

    def __init__(self, model: "PreTrainedModel", temperature: float = 1.0) -> None:
        super().__init__()
        for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(model.config, key, None) is not None:
                raise RequestError(f"model.path: {model.config.model_type} rescales its logits ({key}): not supported")
        self.model = model
        self.temperature = temperature

    def chunks(self, tokens: int) -> int:
        """Into how many chunks the output layer has to cut so many tokens."""
        return max(1, math.ceil(tokens * self.model.config.vocab_size / LOGITS_PER_CHUNK))

    def forward(
        self, input_ids: Tensor, rows: Tensor, columns: Tensor, entropy_at: Tensor, chunks: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tokens at (rows, columns) and entropies of the distributions some came from.

        input_ids [B, T], right-padded: under a causal mask no real token sees padding, so no mask
        is needed. rows, columns [N]; entropy_at [K] indexes into the N tokens. Returns [N] and
        [K], float32, in nats, at the module's temperature. `chunks`: how often the output layer
        runs, where ranks must agree on that; by default as often as N asks for.
        """
        hidden_BTD = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        hidden_ND = hidden_BTD[rows, columns - 1]
        targets_N = input_ids[rows, columns]
        parts = chunks or self.chunks(len(targets_N))
        recompute = torch.is_grad_enabled() and parts > 1
        logprobs = [
            checkpoint(self._logprobs, h, t, use_reentrant=False) if recompute else self._logprobs(h, t)
            for h, t in zip(hidden_ND.tensor_split(parts), targets_N.tensor_split(parts), strict=True)
        ]
        return torch.cat(logprobs), self._entropies(hidden_ND[entropy_at])

    def _logits(self, hidden_ND: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        assert head is not None, "a causal language model has an output layer"
        return head(hidden_ND).float() / self.temperature

    def _logprobs(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = self._logits(hidden_ND)
        return logits_NV.gather(-1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(-1)

    def _entropies(self, hidden_KD: Tensor) -> Tensor:
        logits_KV = self._logits(hidden_KD)
        logp_KV = logits_KV.log_softmax(-1)
        return -(logp_KV.exp() * logp_KV).sum(-1)
