"""Log-probabilities of completion tokens, computed in chunks: logits of a whole batch are never in memory at once."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from budgetrl.core.errors import RequestError
from budgetrl.core.messages import Message
from budgetrl.planning.model_config import LOGITS_PER_CHUNK

if TYPE_CHECKING:  # importing it takes seconds
    from transformers import PreTrainedModel


class PolicyModule(nn.Module):
    """Wraps a causal language model so that its forward pass returns log-probabilities instead of logits.

    DeepSpeed wraps this module rather than the model. ZeRO-3 gathers a layer's weights when its module is called inside
    the wrapped forward, so the output layer has to be called in here.
    """

    def __init__(self, model: "PreTrainedModel", temperature: float = 1.0) -> None:
        super().__init__()
        # `_logits` calls the output layer directly. Models such as Gemma 2 and Cohere change the logits after it, in
        # their own forward, which is not called here: their log-probabilities would be wrong.
        for key in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(model.config, key, None) is not None:
                text = f"{model.config.model_type} rescales its logits ({key}), which is not supported"
                raise RequestError(Message("model.path", text, "use another model"))
        self.model = model
        self.temperature = temperature

    def chunks(self, tokens: int) -> int:
        """Return the number of chunks in which the output layer processes `tokens` tokens."""
        return max(1, math.ceil(tokens * self.model.config.vocab_size / LOGITS_PER_CHUNK))

    def forward(
        self, input_ids: Tensor, rows: Tensor, columns: Tensor, entropy_at: Tensor, chunks: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of some tokens, and entropies of the distributions that some of those came from.

        Args:
            input_ids: Token ids [B, T], right-padded.
            rows: Rows of the N tokens in `input_ids` [N].
            columns: Columns of the N tokens, 1 or more [N].
            entropy_at: Indices into the N tokens [K].
            chunks: Number of chunks for the output layer. By default as many as N tokens need. With ZeRO-3 all ranks
                must pass the same number, since each call of the output layer is a collective operation.

        Returns:
            Log-probabilities [N] and entropies [K], float32, in nats, at the module's temperature.
        """
        # No attention mask: padding is on the right, where no real token sees it under the causal mask.
        hidden_BTD = self.model.base_model(input_ids=input_ids, use_cache=False).last_hidden_state
        hidden_ND = hidden_BTD[rows, columns - 1]  # the hidden state at t predicts the token at t + 1
        targets_N = input_ids[rows, columns]
        parts = chunks or self.chunks(len(targets_N))
        # Recompute each chunk's logits in the backward pass; autograd would otherwise keep all chunks' logits.
        recompute = torch.is_grad_enabled() and parts > 1
        logprobs: list[Tensor] = []
        for hidden, targets in zip(hidden_ND.tensor_split(parts), targets_N.tensor_split(parts), strict=True):
            if recompute:
                logprobs.append(checkpoint(self._logprobs, hidden, targets, use_reentrant=False))
            else:
                logprobs.append(self._logprobs(hidden, targets))
        return torch.cat(logprobs), self._entropies(hidden_ND[entropy_at])

    def _logits(self, hidden_ND: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        assert head is not None, "a causal language model has an output layer"
        return head(hidden_ND).float() / self.temperature  # float32: bfloat16 is too coarse for log-probabilities

    def _logprobs(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = self._logits(hidden_ND)
        return logits_NV.gather(-1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(-1)

    def _entropies(self, hidden_KD: Tensor) -> Tensor:
        logits_KV = self._logits(hidden_KD)
        logp_KV = logits_KV.log_softmax(-1)
        return -(logp_KV.exp() * logp_KV).sum(-1)
