"""The mini model: a 160 thousand parameter Llama and its word-level tokenizer, made from scratch.

The tokenizer can write budgets on a grid alone (8 numbers per octave, each one token), and says so in its
`tokenizer_config.json` under `budget_grid`. The `digits` variant writes any budget digit by digit, as real
tokenizers do. torch, transformers and tokenizers are imported where they are used: settings read this module too.
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
    """The numbers a grid tokenizer can write as a budget: 8 to 480, 8 to the octave (48 of them)."""
    numbers: list[int] = []
    for octave in range(6):
        for step in range(8, 16):
            numbers.append(step * 2**octave)
    return tuple(numbers)


def make_tokenizer(budget_style: str = "grid") -> "PreTrainedTokenizerFast":
    """The word-level tokenizer. `budget_style` "grid": a budget is one token; "digits": one per digit."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if budget_style not in BUDGET_STYLES:
        raise ValueError(f"budget_style: must be one of {', '.join(BUDGET_STYLES)}, got {budget_style!r}")
    grid = budget_style == "grid"
    numbers = range(sums.LARGEST_SUM + 1)
    words = [*_WORDS, *sums.LABELS, *map(str, numbers)]
    if grid:
        words += [str(n) for n in budget_grid() if n not in numbers]
    vocabulary = ["<pad>", "<eos>", *_TAGS]
    vocabulary += [f"▁{word}" for word in words]  # Metaspace's mark of a blank before a word
    if not grid:
        vocabulary += "0123456789"

    ids = {token: id_ for id_, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always" if grid else "never")
    # A word without a blank before it is a number inside a tag: there the digits are split.
    by_digit = pre_tokenizers.Split(Regex("^▁.+|."), behavior="isolated")
    tokenizer.pre_tokenizer = metaspace if grid else pre_tokenizers.Sequence([metaspace, by_digit])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer.add_special_tokens([AddedToken("<pad>", special=True), AddedToken("<eos>", special=True)])
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
    """A randomly initialized mini model, float32.

    A Llama with Qwen's biases rather than a Qwen2: transformers forces Qwen's own tokenizer class on that.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
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
