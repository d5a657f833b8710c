"""The mini model: a Llama with 160 thousand parameters and a word-level tokenizer, built from scratch.

The tokenizer can write only the budgets on a grid (8 numbers per octave, one token each), which its
`tokenizer_config.json` lists under `budget_grid`. The `digits` variant writes any budget digit by digit, like real
tokenizers. torch, transformers and tokenizers are imported inside functions, because settings import this module too.
"""

from typing import TYPE_CHECKING

from budgetrl.data.mini import sums

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BUDGET_STYLES = ("grid", "digits")

_TAGS = ("<user>", "<assistant>", "<budget>", "</budget>", "<solution>", "</solution>")
_WORDS = ("\\boxed{", "}", "?", "=", "wait", "ok", "no", "hmm", "plan", *sums.COUNT_WORDS)
_CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'].replace('\n\n', '') }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def budget_grid() -> tuple[int, ...]:
    """Return the 48 budgets that a grid tokenizer can write: 8 to 480, with 8 per octave."""
    # 8, 9, ..., 15; 16, 18, ..., 30; 32, 36, ..., 60; and so on.
    numbers: list[int] = []
    for octave in range(6):
        for step in range(8, 16):
            numbers.append(step * 2**octave)
    return tuple(numbers)


def make_tokenizer(budget_style: str = "grid") -> "PreTrainedTokenizerFast":
    """Return the word-level tokenizer. `budget_style` is "grid" (a budget is one token) or "digits" (one per digit)."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if budget_style not in BUDGET_STYLES:
        raise ValueError(f"budget_style: must be one of {', '.join(BUDGET_STYLES)}, got {budget_style!r}")
    grid = budget_style == "grid"
    numbers = range(sums.LARGEST_SUM + 1)
    # The order of the vocabulary is fixed: the shipped checkpoints depend on the token ids.
    words = [*_WORDS, *sums.LABELS, *map(str, numbers)]
    if grid:
        words += [str(n) for n in budget_grid() if n not in numbers]
    vocabulary = ["<pad>", "<eos>", *_TAGS]
    vocabulary += [f"▁{word}" for word in words]  # Metaspace writes the space before a word as "▁"
    if not grid:
        vocabulary += "0123456789"

    ids = {token: id_ for id_, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always" if grid else "never")
    # Text without a leading space is a number between tags, as in <budget>64</budget>; split it into digits.
    by_digit = pre_tokenizers.Split(Regex("^▁.+|."), behavior="isolated")
    tokenizer.pre_tokenizer = metaspace if grid else pre_tokenizers.Sequence([metaspace, by_digit])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer.add_special_tokens([AddedToken("<pad>", special=True), AddedToken("<eos>", special=True)])
    # Tags are not special tokens, so that decoding with skip_special_tokens=True keeps them.
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in _TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        budget_grid=list(budget_grid()) if grid else None,
    )


def make_model(vocabulary_size: int, seed: int) -> "LlamaForCausalLM":
    """Return a randomly initialized mini model in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    # A Llama with attention biases, as in Qwen2. It is not a Qwen2 because AutoTokenizer would then load Qwen's own
    # tokenizer class instead of ours.
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=64,
        num_hidden_layers=3,
        intermediate_size=192,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        attention_bias=True,
        tie_word_embeddings=True,
        initializer_range=0.05,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)
