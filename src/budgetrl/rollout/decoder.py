"""A fast forward pass for models of the Llama family.

It reads the parameters of the Hugging Face model but never calls its modules, so no hooks run, DeepSpeed's included:
under ZeRO 3 the caller must gather the parameters while a decoder is in use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from budgetrl.rollout.slots import Layout, SlotCache, Source

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Supported values of `config.model_type`. All have the same block layout, with or without biases and q/k norms."""

ROPE_TYPES = ("default", "linear", "llama3", "yarn")
"""RoPE scalings whose angles depend only on the position. Others also depend on the sequence length."""

FUSE_BYTES = 256 * 2**20
"""Maximum size of joined weight copies, for all layers together. Joining the projections of one input means fewer and
larger matrix products, which is what makes a small model fast. A large model would only lose memory."""

MIN_POSITIONS = 1024
"""Number of positions in the first table of rotations. It grows with the sequences."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries [..., h, d], keys [..., kv, d], values [..., kv, d]) -> attention's output [..., h * d]."""

Edit = Callable[[int, Tensor], Tensor]
"""(layer, hidden states [B, H] that come out of it) -> the hidden states that the next layer is given."""

Linear = tuple[Tensor, Tensor | None]
"""Weight and bias."""


def why_unsupported(model: nn.Module) -> str | None:
    """Return why this decoder cannot run `model`, or None if it can."""
    name, config = type(model).__name__, getattr(model, "config", None)
    family = getattr(config, "model_type", None)
    if config is None or family not in FAMILIES or not hasattr(model, "lm_head"):
        return f"{name} (model type {family!r}) is not a causal model of {', '.join(FAMILIES)}"
    if getattr(config, "sliding_window", None) is not None:
        return f"{name} is configured with sliding-window attention"
    if (rope := config.rope_parameters["rope_type"]) not in ROPE_TYPES:
        return f"the RoPE scaling {rope!r} of {name} is not one of {', '.join(ROPE_TYPES)}"
    return _replaced_projection(model)


def _replaced_projection(model: nn.Module) -> str | None:
    for name, module in model.named_modules():
        if name.endswith("_proj") and type(module) is not nn.Linear:
            return f"{name} is a {type(module).__name__}, not a plain linear layer (quantized? an adapter?)"
    return None


def require_support(model: nn.Module) -> None:
    """Raise ValueError, with the reason and what to do, if `Decoder` cannot run `model`."""
    if reason := why_unsupported(model):
        raise ValueError(f"rollout=native cannot run this model: {reason}. Set rollout=transformers.")


@dataclass(frozen=True, slots=True)
class Heads:
    """`queries` attention heads of `size` numbers each. Groups of them share one of `keys` key-value heads."""

    queries: int
    keys: int
    size: int


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one block. `qkv` and `gate_up` hold one joined matrix or several separate ones."""

    attention_norm: Tensor
    qkv: list[Linear]
    head_norm: Tensor | None
    """[h + kv, d], if queries and keys are normalized per head (Qwen3)."""
    output: Linear
    mlp_norm: Tensor
    gate_up: list[Linear]
    down: Linear
    activation: Callable[[Tensor], Tensor]


class Decoder:
    """Computes prompts into a cache (`prefill`), and logits after single tokens (`step`).

    Create a new decoder whenever the weights may have changed, because it may hold joined copies of them. The model
    must pass `require_support`.
    """

    def __init__(self, model: nn.Module) -> None:
        whole: Any = model
        config, body = whole.config, whole.model
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._heads = Heads(config.num_attention_heads, config.num_key_value_heads, size)
        self._layers = _read_layers(body.layers, self._heads)
        self._unembedding: Tensor = whole.lm_head.weight
        self._embedding: Tensor = body.embed_tokens.weight
        self._norm: Tensor = body.norm.weight
        self._epsilon: float = config.rms_norm_eps
        self._rotary: Any = body.rotary_emb
        self._rotations = _rotations(self._rotary, self._embedding, MIN_POSITIONS)
        """[positions, 1, 2 d]: cosines and sines of each position's rotation."""

    def reach(self, positions: int) -> None:
        """Prepare for sequences of up to `positions` tokens."""
        if positions > len(self._rotations):
            # More than asked for, so that slowly growing answers do not recompute the table each time.
            self._rotations = _rotations(self._rotary, self._embedding, positions + MIN_POSITIONS)

    @property
    def vocabulary(self) -> int:
        """Number of logits."""
        return self._unembedding.shape[0]

    @property
    def layout(self) -> Layout:
        """The shape of this model's keys and values."""
        heads, like = self._heads, self._embedding
        return Layout(len(self._layers), heads.keys, heads.size, like.dtype, like.device)

    def prefill(self, ids: Tensor, cache: SlotCache, source: Source) -> None:
        """Compute the keys and values of prompts `ids` [n, m], and store them in the rows given by `source`.

        Prompts are padded on the right, so causal attention needs no mask. The results of the padding are not used.
        """
        grouped = self._heads.keys < self._heads.queries

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.fill(layer, source, k, v)
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
            return out.transpose(1, 2).flatten(2)

        self._forward(ids, torch.arange(ids.shape[1], device=ids.device), attend)

    def step(self, ids: Tensor, cache: SlotCache, edit: Edit | None = None) -> Tensor:
        """Append one token, `ids` [B], to each of the first B rows of `cache`. Returns the next logits [B, V]."""
        positions = cache.advance(len(ids))
        # Queries that share a key head take the place of a sequence, so no key is repeated.
        shape = (len(ids), self._heads.keys, -1, self._heads.size)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return cache.attend(layer, q.view(shape), k, v).flatten(1)

        return F.linear(self._forward(ids, positions, attend, edit), self._unembedding)

    def _forward(self, ids: Tensor, positions: Tensor, attend: Attend, edit: Edit | None = None) -> Tensor:
        """Return the hidden states [..., n, hidden] of `ids` [..., n] at `positions` [n] after all layers."""
        cos, sin = self._rotations.index_select(0, positions).chunk(2, dim=-1)
        x = F.embedding(ids, self._embedding)
        for index, layer in enumerate(self._layers):
            q, k, v = self._qkv(layer, self._normed(x, layer.attention_norm), cos, sin)
            x = x + F.linear(attend(index, q, k, v), *layer.output)
            x = x + _mlp(layer, self._normed(x, layer.mlp_norm))
            if edit is not None:
                x = edit(index, x)
        return self._normed(x, self._norm)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, weight.shape, weight, self._epsilon)

    def _qkv(self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rotated queries, rotated keys, and values, [..., heads, d] each, of x [..., hidden]."""
        queries, keys, size = self._heads.queries, self._heads.keys, self._heads.size
        joined = _project(x, layer.qkv).unflatten(-1, (-1, size))
        qk, v = torch.split_with_sizes(joined, (queries + keys, keys), dim=-2)
        if layer.head_norm is not None:
            qk = F.rms_norm(qk, (size,), None, self._epsilon) * layer.head_norm
        qk = torch.addcmul(qk * cos, qk.roll(size // 2, dims=-1), sin)
        q, k = torch.split_with_sizes(qk, (queries, keys), dim=-2)
        return q, k, v


def _mlp(layer: Layer, x: Tensor) -> Tensor:
    gate, up = _project(x, layer.gate_up).chunk(2, dim=-1)
    return F.linear(layer.activation(gate) * up, *layer.down)


def _project(x: Tensor, parts: Sequence[Linear]) -> Tensor:
    if len(parts) == 1:
        return F.linear(x, *parts[0])
    return torch.cat([F.linear(x, weight, bias) for weight, bias in parts], dim=-1)


def _rotations(rotary: Any, like: Tensor, positions: int) -> Tensor:
    """Return cos and sin, [positions, 1, 2 d], of the model's RoPE. The sign of "rotate half" is included in sin."""
    cos, sin = rotary.forward(like, torch.arange(positions, device=like.device)[None])
    first, second = sin.chunk(2, dim=-1)
    return torch.cat((cos, -first, second), dim=-1)[0, :, None]


def _read_layers(blocks: Sequence[Any], heads: Heads) -> list[Layer]:
    size = 0
    for block in blocks:
        qkv, gate_up = _groups(block)
        for weight, _ in qkv + gate_up:
            size += weight.numel() * weight.element_size()
    return [_read_layer(block, heads, fuse=size <= FUSE_BYTES) for block in blocks]


def _read_layer(block: Any, heads: Heads, fuse: bool) -> Layer:
    qkv, gate_up = _groups(block)
    if fuse:
        qkv, gate_up = [_join(qkv)], [_join(gate_up)]
    return Layer(
        attention_norm=block.input_layernorm.weight,
        qkv=qkv,
        head_norm=_head_norm(block.self_attn, heads),
        output=_linear(block.self_attn.o_proj),
        mlp_norm=block.post_attention_layernorm.weight,
        gate_up=gate_up,
        down=_linear(block.mlp.down_proj),
        activation=block.mlp.act_fn.forward,
    )


def _groups(block: Any) -> tuple[list[Linear], list[Linear]]:
    """Return the projections that share an input: those of the attention, and those of the MLP."""
    attention, mlp = block.self_attn, block.mlp
    qkv = [_linear(attention.q_proj), _linear(attention.k_proj), _linear(attention.v_proj)]
    gate_up = [_linear(mlp.gate_proj), _linear(mlp.up_proj)]
    return qkv, gate_up


def _linear(module: nn.Linear) -> Linear:
    return module.weight, module.bias


def _join(parts: Sequence[Linear]) -> Linear:
    """Return one linear layer with the concatenated outputs of all parts."""
    weight = torch.cat([weight for weight, _ in parts])
    biases = [bias for _, bias in parts if bias is not None]  # all have one, or none has
    return weight, torch.cat(biases) if biases else None


def _head_norm(attention: Any, heads: Heads) -> Tensor | None:
    if not hasattr(attention, "q_norm"):
        return None
    q, k = attention.q_norm.weight, attention.k_norm.weight
    return torch.cat((q.expand(heads.queries, -1), k.expand(heads.keys, -1)))
