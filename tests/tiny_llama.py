"""A Llama with random weights, small enough for a test to make its own."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def tiny_llama(seed: int, vocabulary: int, hidden: int = 32, layers: int = 2, spread: float = 0.3) -> LlamaForCausalLM:
    """`spread` is the standard deviation of the weights. Pairs of attention heads share a key head."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 3 // 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 8,
        num_key_value_heads=hidden // 16,
        initializer_range=spread,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config)
