"""Checkpoints whose chat template begins the response with `<think>`: saved without it where a tag comes first."""

from itertools import product
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from budgetrl.data.mini.model import make_tokenizer
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.difficulty import DifficultyFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.formats.prompt_budget import PromptBudgetFormat
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import load_tokenizer, make_codec
from budgetrl.policy.template import rewrite_chat_template, with_think, without_think
from budgetrl.settings.model import ModelSettings

PLAIN, BUDGET = PlainFormat(instruction=""), BudgetFormat(instruction="Budget first.")
TAGGED: list[ResponseFormat] = [BUDGET, DifficultyFormat()]
UNTAGGED: list[ResponseFormat] = [PLAIN, PromptBudgetFormat()]
MODEL = ModelSettings("own", "own")
QUESTION = "What is 2 + 3?\n"
CHATS = [
    [("user", QUESTION)],
    [
        ("system", " Be brief.\n"),
        ("user", "Hi <think>"),
        ("assistant", "<think>\nwell</think>\n\nHi."),
        ("user", " ?\n\n"),
    ],
]
THINKING = """\
{% if not add_generation_prompt is defined %}
    {% set add_generation_prompt = false %}
{% endif %}
{%- set ns = namespace(turns=0) %}
{% for m in messages %}
    {% set ns.turns = ns.turns + 1 %}
<{{ m['role'] }}>{{ ns.turns }}: {{ m['content'] }}
{% endfor %}
{% if add_generation_prompt %}
<assistant>
<think>
{% endif %}"""
AROUND = ["", "\n", "\n\n", "  ", "\n  ", "  \n", "\r\n", "{{ '' }}\n", "{#- a comment -#}\n "]


def render(tokenizer: PreTrainedTokenizerBase, chat: list[tuple[str, str]], **options: bool) -> str:
    messages = [{"role": role, "content": content} for role, content in chat]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def own(template: str | dict[str, str]) -> PreTrainedTokenizerBase:
    tokenizer = make_tokenizer("digits")
    tokenizer.chat_template = template
    return tokenizer


def check_only_the_think_goes(tokenizer: PreTrainedTokenizerBase) -> None:
    """Every other text stays to the letter, whatever blanks a template begins and ends with."""
    bare = rewrite_chat_template(tokenizer, without_think)
    for chat in CHATS:
        for options in ({}, {"add_generation_prompt": False}):
            assert render(bare, chat, **options) == render(tokenizer, chat, **options)
        text = render(tokenizer, chat, add_generation_prompt=True)
        left = render(bare, chat, add_generation_prompt=True)
        assert text.startswith(left + "<think>") and text.removeprefix(left + "<think>").isspace()


@pytest.mark.parametrize(("before", "after"), list(product(AROUND, AROUND)))
def test_only_the_think_goes(before: str, after: str) -> None:
    check_only_the_think_goes(own(before + THINKING + after))
    plain = own(before + THINKING.replace("<think>\n", "") + after)
    for chat, asked in product(CHATS, (False, True)):
        bare = rewrite_chat_template(plain, without_think)
        assert render(bare, chat, add_generation_prompt=asked) == render(plain, chat, add_generation_prompt=asked)


def test_a_think_that_a_user_wrote_stays() -> None:
    echo = own("{{ messages[0]['content'] }}{% if add_generation_prompt %} :{% endif %}")
    for asked in (False, True):
        text = render(
            rewrite_chat_template(echo, without_think), [("user", "Say <think>")], add_generation_prompt=asked
        )
        assert text == ("Say <think> :" if asked else "Say <think>")


def test_a_template_is_wrapped_once_and_unwrapped() -> None:
    wrapped = without_think(THINKING)
    assert without_think(wrapped) == wrapped
    assert with_think(wrapped) == with_think(THINKING) == THINKING


def test_a_tokenizer_with_several_templates_keeps_their_names() -> None:
    several = {"default": THINKING, "tool_use": f"Tools.\n{THINKING}"}
    bare = rewrite_chat_template(own(several), without_think)
    assert isinstance(bare.chat_template, dict) and list(bare.chat_template) == list(several)
    assert not render(bare, CHATS[0], add_generation_prompt=True).endswith("<think>\n")
    assert rewrite_chat_template(bare, with_think).chat_template == several


def reloaded(codec: TextCodec, fmt: ResponseFormat, folder: Path) -> TextCodec:
    codec.tokenizer_to_save(fmt).save_pretrained(folder)
    return make_codec(load_tokenizer(str(folder)), codec.settings)


def check_chat_gives_our_prompt(folder: Path, codec: TextCodec, fmt: ResponseFormat) -> None:
    """With transformers alone, as a server does it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    wish = fmt.instruction
    messages = [{"role": "user", "content": f"{QUESTION}\n\n{wish}" if wish else QUESTION}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert tuple(ids) == codec.prompt(QUESTION, fmt).all_ids


def check_saved(codec: TextCodec, folder: Path) -> None:
    """A chain of trainings: each one's prompts are those of the base model, and those that a server makes."""
    template = codec.tokenizer.chat_template
    later = codec
    for i, fmt in enumerate((BUDGET, BUDGET, DifficultyFormat(), PLAIN)):
        later = reloaded(later, fmt, folder / str(i))
        check_chat_gives_our_prompt(folder / str(i), codec, fmt)
        for asked, budget in ((PLAIN, None), (BUDGET, None), (BUDGET, 40), (DifficultyFormat(), None)):
            assert later.prompt(QUESTION, asked, budget) == codec.prompt(QUESTION, asked, budget)
    first, second, *_, last = ((path / "chat_template.jinja").read_bytes() for path in sorted(folder.iterdir()))
    assert first == second
    assert last.decode().rstrip("\n") == template.rstrip("\n")
    assert codec.tokenizer.chat_template == template


def test_a_saved_checkpoint_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    check_saved(make_codec(own(THINKING), MODEL), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["tokenizer_config.json", "tokenizer_config.no_think_prefill.json"])
def test_so_is_one_of_deepseeks(shared_dir: Path, tmp_path: Path, config: str) -> None:
    source = shared_dir / "tokenizers" / "deepseek-r1-distill-qwen"
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.json").symlink_to(source / "tokenizer.json")
    (tmp_path / "base" / "tokenizer_config.json").symlink_to(source / config)
    tokenizer = load_tokenizer(str(tmp_path / "base"))
    if config == "tokenizer_config.json":
        check_only_the_think_goes(tokenizer)
    check_saved(make_codec(tokenizer, MODEL), tmp_path / "trained")


def test_wrapping_qwens_template_changes_no_text(shared_dir: Path) -> None:
    tokenizer = load_tokenizer(str(shared_dir / "tokenizers" / "qwen2.5-instruct"))
    bare = rewrite_chat_template(tokenizer, without_think)
    assert bare.chat_template != tokenizer.chat_template
    for chat, asked in product(CHATS, (False, True)):
        assert render(bare, chat, add_generation_prompt=asked) == render(tokenizer, chat, add_generation_prompt=asked)
    assert make_codec(tokenizer, MODEL).tokenizer_to_save(BUDGET) is tokenizer


@pytest.mark.parametrize("fmt", TAGGED + UNTAGGED, ids=lambda fmt: fmt.name)
def test_a_tokenizer_is_saved_as_it_is_where_no_think_is_in_the_way(fmt: ResponseFormat) -> None:
    mini = make_codec(make_tokenizer(), ModelSettings())
    assert mini.tokenizer_to_save(fmt) is mini.tokenizer
    thinking = make_codec(own(THINKING), MODEL)
    assert (thinking.tokenizer_to_save(fmt) is thinking.tokenizer) is (fmt in UNTAGGED)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    bare = make_codec(tokenizer, MODEL)
    assert bare.tokenizer_to_save(fmt) is tokenizer
