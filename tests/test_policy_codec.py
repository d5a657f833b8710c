"""Prompts, targets and parsing of responses, with the mini tokenizers and real ones."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from budgetrl.core.records import Outcome
from budgetrl.data.mini import sums
from budgetrl.data.mini.model import budget_grid, make_tokenizer
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.difficulty import DifficultyFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.formats.prompt_budget import PromptBudgetFormat
from budgetrl.policy.codec import TextCodec
from budgetrl.policy.loading import make_codec
from budgetrl.settings.model import ModelSettings

PLAIN, BUDGET = PlainFormat(instruction=""), BudgetFormat(instruction="")
QUESTION = "What is 2 + 3?"
REAL = {
    "deepseek": ("deepseek-r1-distill-qwen", "tokenizer_config.json", {}),
    "deepseek without think": ("deepseek-r1-distill-qwen", "tokenizer_config.no_think_prefill.json", {}),
    "qwen": ("qwen2.5-instruct", "tokenizer_config.json", {}),
    "gpt2": ("gpt2", "tokenizer_config.json", {"eos_token": "<|endoftext|>"}),
}
TAGS = re.compile(r"</?(?:budget|solution)>|<[|｜]")
bodies = st.text(max_size=40).filter(lambda text: not TAGS.search(text))
many_examples = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])

Load = Callable[..., TextCodec]


@pytest.fixture(scope="module")
def real(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """`real(name, **spec)`: the codec of a real tokenizer, loaded from a folder as a user's would be."""
    tokenizers: dict[str, PreTrainedTokenizerBase] = {}

    def load(name: str, **spec: str) -> TextCodec:
        if name not in tokenizers:
            source, config, options = REAL[name]
            folder = tmp_path_factory.mktemp("tokenizer")
            shutil.copy(shared_dir / "tokenizers" / source / "tokenizer.json", folder)
            shutil.copy(shared_dir / "tokenizers" / source / config, folder / "tokenizer_config.json")
            tokenizers[name] = AutoTokenizer.from_pretrained(folder, **options)
        return make_codec(tokenizers[name], ModelSettings(name, name, **spec))

    return load


def mini(style: str, **spec: str) -> TextCodec:
    return make_codec(make_tokenizer(style), ModelSettings(**spec))


def solution(codec: TextCodec, seed: int = 0) -> list[int]:
    """Tokens of a solution of the mini task."""
    rng = Random(seed)
    text = " " + sums.solve(rng, sums.draw_problem(rng), checks=seed % 4)
    return codec.tokenizer.encode(text, add_special_tokens=False)


def taught(codec: TextCodec, budget: int, body: list[int]) -> tuple[int, ...]:
    """A response in the budget format."""
    outcome = Outcome(well_formed=True, correct=True, length=budget)
    return codec.target(BUDGET.target(outcome, [outcome], codec.writable(budget)), body)


def check_round_trip(codec: TextCodec, budget: int, body: list[int]) -> None:
    """A target reads as what it was made from, and its budget field is the number and one token more."""
    target = taught(codec, budget, body)
    reading = codec.read(target, BUDGET)
    assert reading.parsed.well_formed
    assert reading.parsed.budget == codec.writable(budget)
    assert reading.body_ids == tuple(body)
    assert reading.length == len(body)
    field = codec.budget_field(target, BUDGET)
    texts = [codec.decode([target[i]]) for i in field]
    assert "".join(texts[:-1]).strip() == str(codec.writable(budget))
    assert codec.decode(target[: field.start]) == "<budget>"
    assert texts[-1].startswith("<")


@pytest.mark.parametrize("style", ["grid", "digits"])
def test_mini_targets_read_back(style: str) -> None:
    codec = mini(style)
    for budget in (*budget_grid(), 1, 77, 131, 1000):
        check_round_trip(codec, budget, solution(codec, budget))


@pytest.mark.parametrize("name", REAL)
@many_examples
@given(text=bodies, budget=st.integers(1, 40_000))
def test_real_targets_read_back(real: Load, name: str, text: str, budget: int) -> None:
    codec = real(name)
    check_round_trip(codec, budget, codec.tokenizer.encode(text, add_special_tokens=False))


@pytest.mark.parametrize("name", REAL)
def test_a_character_of_several_tokens_is_whole(real: Load, name: str) -> None:
    codec = real(name)
    body = codec.tokenizer.encode("so 𒀀", add_special_tokens=False)
    assert codec.decode(body[:-1]).endswith("�")
    assert codec.read(taught(codec, 9, body), BUDGET).body_ids == tuple(body)
    assert codec.read(body, PLAIN).length == len(body)
    assert codec.read(body[:-1], PLAIN).length == len(body) - 1


@pytest.mark.parametrize("name", ["grid", "digits", *REAL])
def test_a_prefilled_prompt_is_a_prefix_of_the_target(request: pytest.FixtureRequest, name: str) -> None:
    codec = mini(name) if name in ("grid", "digits") else request.getfixturevalue("real")(name)
    for budget in (1, 12, 131, 4096):
        given_ids = codec.prompt(QUESTION, BUDGET, budget).prefix_ids
        assert BUDGET.parse(codec.decode(given_ids) + "<solution>").budget == codec.writable(budget)
        target = taught(codec, budget, codec.tokenizer.encode(" a 4 b 2", add_special_tokens=False))
        assert target[: len(given_ids)] == given_ids
        assert codec.budget_field(target, BUDGET) != range(0)
        assert codec.budget_field(target, BUDGET, prefilled=len(given_ids)) == range(0)


def test_the_think_prefill_is_given_text_in_plain_and_gone_in_budget(real: Load) -> None:
    codec = real("deepseek")
    plain, budget = codec.prompt(QUESTION, PLAIN), codec.prompt(QUESTION, BUDGET)
    assert codec.decode(plain.prefix_ids) == "<think>\n"
    assert budget.prefix_ids == ()
    assert plain.ids == budget.ids
    assert codec.decode(plain.ids).endswith(f"{QUESTION}<｜Assistant｜>")
    rendered = codec.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=False
    )
    assert list(plain.all_ids) == rendered
    without = real("deepseek without think").prompt(QUESTION, PLAIN)
    assert (without.ids, without.prefix_ids) == (plain.ids, ())


def test_thinking_is_counted_within_the_body(real: Load) -> None:
    codec = real("deepseek")
    thought = codec.tokenizer.encode("<think>\nIt is 5.\n</think>", add_special_tokens=False)
    body = [*thought, *codec.tokenizer.encode("\n\n5", add_special_tokens=False)]
    for reading in (codec.read(body, PLAIN), codec.read(taught(codec, 50, body), BUDGET)):
        assert (reading.length, reading.thinking_length) == (len(body), len(thought))
    assert codec.read(thought[:-1], PLAIN).thinking_length is None


@pytest.mark.parametrize("name", ["deepseek", "deepseek without think", "qwen"])
def test_a_template_gets_no_second_begin_token(real: Load, name: str) -> None:
    codec = real(name)
    begin = codec.tokenizer.bos_token_id
    for ids in (codec.prompt(QUESTION, PLAIN).all_ids, codec.prompt(QUESTION, BUDGET, 12).all_ids):
        assert ids.count(begin) == (0 if name == "qwen" else 1)


def test_a_tokenizer_without_template_gets_the_bare_problem(real: Load) -> None:
    codec, plain, budget = real("gpt2"), PlainFormat(instruction="Box it."), BudgetFormat(instruction="Budget first.")
    assert codec.decode(codec.prompt(QUESTION, plain).all_ids) == f"{QUESTION}\n\nBox it.\n\n"
    asked = codec.decode(codec.prompt(QUESTION, budget, 12).all_ids)
    assert asked == f"{QUESTION}\n\nBudget first.\n\n<budget>12</budget>"
    with pytest.raises(ValueError, match="plain format has no budget"):
        codec.prompt(QUESTION, PLAIN, 12)


@pytest.mark.parametrize("name", ["deepseek", "qwen", "gpt2"])
def test_tags_that_share_tokens_with_newlines(real: Load, name: str) -> None:
    codec = real(name)
    text = "<budget>\n131\n</budget>\n\n<solution>\nIt is 5.\n</solution>\n"
    ids = codec.tokenizer.encode(text, add_special_tokens=False)
    inside = codec.tokenizer.encode("It is 5.", add_special_tokens=False)
    reading = codec.read([*ids, codec.stop_ids[0]], BUDGET)
    assert reading.parsed.well_formed
    assert (reading.parsed.budget, reading.text) == (131, text)
    assert reading.body.strip() == "It is 5."
    assert len(inside) <= reading.length <= len(inside) + 2
    covered = codec.decode([ids[i] for i in codec.budget_field(ids, BUDGET)])
    assert re.fullmatch(r"\s*131\n?(</)?", covered)


def test_text_that_begins_without_a_budget_has_no_budget_field(real: Load) -> None:
    codec = real("qwen")
    for text in ("", "5", "<budget></budget>", "so <budget>12</budget>", "<solution>12</solution>"):
        assert codec.budget_field(codec.tokenizer.encode(text, add_special_tokens=False), BUDGET) == range(0)
    cut_off = codec.tokenizer.encode("<budget>12", add_special_tokens=False)
    assert codec.budget_field(cut_off, BUDGET) == range(3, 5)


def test_the_two_lengths(real: Load) -> None:
    body = real("qwen").tokenizer.encode("It is 5.", add_special_tokens=False)
    target = taught(real("qwen"), 12, body)
    assert real("qwen", length="body").read(target, BUDGET).length == len(body)
    assert real("qwen", length="response").read(target, BUDGET).length == len(target) - 1
    for length in ("body", "response"):
        codec = real("qwen", length=length)
        assert codec.read([*body, codec.stop_ids[0]], PLAIN).length == len(body)
        assert codec.read(target[:-1], BUDGET).body_ids == tuple(body)


def test_shared_pad_and_end_token(real: Load) -> None:
    codec = real("deepseek")
    end = codec.tokenizer.eos_token_id
    assert codec.tokenizer.pad_token_id == end
    assert codec.stop_ids == (end,)
    body = codec.tokenizer.encode("5", add_special_tokens=False)
    assert codec.read([*body, end], PLAIN).body_ids == tuple(body)
    # Only the last one ended the response; one before it was written, and counts.
    assert codec.read([*body, end, end], PLAIN).length == len(body) + 1


def test_a_tokenizer_without_an_end_token_is_rejected() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match=r"model\.path.*eos_token"):
        make_codec(tokenizer, ModelSettings("own", "own"))


def test_a_budget_too_small_to_write_becomes_the_smallest() -> None:
    assert mini("grid").writable(0) == mini("grid").writable(3) == 8
    assert mini("digits").writable(0) == 1
    assert mini("digits").writable(131) == 131


def test_a_requested_length_is_in_the_prompt(real: Load) -> None:
    codec, fmt = real("deepseek"), PromptBudgetFormat(instruction="Think for {budget} tokens.")
    text = codec.decode(codec.prompt(QUESTION, fmt, 900).all_ids)
    assert f"{QUESTION}\n\nThink for 900 tokens.<" in text and text.endswith("<think>\n")
    with pytest.raises(ValueError, match="prompt_budget format needs a budget"):
        codec.prompt(QUESTION, fmt)


def test_the_mini_model_is_asked_for_a_length_it_can_read() -> None:
    codec, fmt = mini("grid"), PromptBudgetFormat(instruction="<budget>{budget}</budget>")
    text = codec.decode(codec.prompt("a 4 ?", fmt, 25).all_ids)
    assert text == "<user> a 4 ?<budget> 24</budget><assistant>"


def test_a_difficulty_tag_comes_before_the_thinking(real: Load) -> None:
    codec, fmt = real("deepseek"), DifficultyFormat(instruction="")
    assert not codec.decode(codec.prompt(QUESTION, fmt).all_ids).endswith("<think>\n")
    body = codec.tokenizer.encode("<think>\nIt is 5.\n</think>\n\n5", add_special_tokens=False)
    for easy, tag in ((True, "[Easy]"), (False, "[Hard]")):
        group = [Outcome(well_formed=True, correct=easy, length=len(body))]
        target = codec.target(fmt.target(group[0], group, len(body)), body)
        reading = codec.read(target, fmt)
        assert codec.decode(target).startswith(f"{tag}<think>")
        assert (reading.parsed.easy, reading.body_ids, reading.length) == (easy, tuple(body), len(body))
