"""Which texts parse as well-formed responses."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.records import Outcome
from budgetrl.formats.budget import BudgetFormat
from budgetrl.formats.difficulty import DifficultyFormat
from budgetrl.formats.plain import PlainFormat
from budgetrl.formats.registry import format_class, format_names

TAG = re.compile(r"</?(budget|solution)>")
FORMAT = BudgetFormat()

budgets = st.integers(1, 999_999_999)
bodies = st.text(st.characters(codec="utf-8")).filter(lambda text: not TAG.search(text))
pieces = st.lists(st.sampled_from(["<budget>", "</budget>", "<solution>", "</solution>", "7", "x", "\n"]))
blanks = st.text(" \t\r\n", max_size=3)


def rendered(budget: int, body: str) -> str:
    """The response that a cold start teaches around a body."""
    outcome = Outcome(well_formed=True, correct=True, length=budget)
    return FORMAT.target(outcome, [outcome], budget).around(body)


@given(budget=budgets, body=bodies)
def test_what_is_rendered_reads_back(budget: int, body: str) -> None:
    text = rendered(budget, body)
    parsed = FORMAT.parse(text)
    assert parsed.well_formed
    assert parsed.budget == budget
    assert parsed.body(text) == body


@given(budget=budgets, body=bodies)
def test_a_prefilled_budget_is_the_start_of_a_response(budget: int, body: str) -> None:
    assert rendered(budget, body).startswith(FORMAT.prefill(budget) + "<solution>")


@given(budget=budgets, body=bodies, gaps=st.tuples(blanks, blanks, blanks, blanks, blanks))
def test_blanks_around_tags_and_number_are_allowed(
    budget: int, body: str, gaps: tuple[str, str, str, str, str]
) -> None:
    start, left, right, between, end = gaps
    text = f"{start}<budget>{left}{budget}{right}</budget>{between}<solution>{body}</solution>{end}"
    parsed = FORMAT.parse(text)
    assert (parsed.well_formed, parsed.budget, parsed.body(text)) == (True, budget, body)


@given(pieces)
def test_any_text_has_a_body_inside_it(pieces: list[str]) -> None:
    text = "".join(pieces)
    for name in format_names():
        parsed = format_class(name)().parse(text)
        assert 0 <= parsed.body_start <= parsed.body_end <= len(text)


@given(pieces)
def test_well_formed_means_each_tag_once_and_in_order(pieces: list[str]) -> None:
    text = "".join(pieces)
    if FORMAT.parse(text).well_formed:
        tags = [piece for piece in pieces if piece.startswith("<")]
        assert tags == ["<budget>", "</budget>", "<solution>", "</solution>"]


@pytest.mark.parametrize(
    ("text", "budget", "body"),
    [
        # Tags missing.
        ("", None, ""),
        ("2+3=5", None, "2+3=5"),
        ("<solution>5</solution>", None, "<solution>5"),
        ("<budget>9</budget>5", None, "<budget>9</budget>5"),
        ("<budget>9</budget><solution>5", 9, "5"),
        ("<budget>9</budget>5</solution>", None, "<budget>9</budget>5"),
        ("<budget>9<solution>5</solution>", None, "<budget>9<solution>5"),
        ("9</budget><solution>5</solution>", None, "9</budget><solution>5"),
        # Tags doubled, nested, in the wrong order, or inside the body.
        ("<budget>9</budget><budget>9</budget><solution>5</solution>", None, None),
        ("<budget>9</budget><solution><solution>5</solution>", 9, "<solution>5"),
        ("<budget>9</budget><solution>5</solution></solution>", 9, "5</solution>"),
        ("<budget>9</budget><solution>5</solution><solution>6</solution>", 9, None),
        ("<budget>9</budget><solution>a <budget>3</budget> b</solution>", 9, "a <budget>3</budget> b"),
        ("<solution><budget>9</budget>5</solution>", None, None),
        ("<solution>5</solution><budget>9</budget>", None, None),
        ("<budget><solution>9</budget>5</solution>", None, None),
        # Text around and between.
        ("So: <budget>9</budget><solution>5</solution>", None, None),
        ("<budget>9</budget> then <solution>5</solution>", None, None),
        ("<budget>9</budget><solution>5</solution> Done.", 9, "5</solution> Done."),
        # Not a positive number of tokens.
        ("<budget></budget><solution>5</solution>", None, None),
        ("<budget>0</budget><solution>5</solution>", 0, "5"),
        ("<budget>000</budget><solution>5</solution>", 0, "5"),
        ("<budget>-9</budget><solution>5</solution>", None, None),
        ("<budget>9.5</budget><solution>5</solution>", None, None),
        ("<budget>1e3</budget><solution>5</solution>", None, None),
        ("<budget>1,000</budget><solution>5</solution>", None, None),
        ("<budget>1 000</budget><solution>5</solution>", None, None),
        ("<budget>nine</budget><solution>5</solution>", None, None),
        ("<budget>٩</budget><solution>5</solution>", None, None),
        ("<budget>²</budget><solution>5</solution>", None, None),
        ("<budget>1000000000</budget><solution>5</solution>", None, None),
        (f"<budget>{'9' * 5000}</budget><solution>5</solution>", None, None),
        # Other spellings of the tags.
        ("<Budget>9</Budget><solution>5</solution>", None, None),
        ("< budget >9</ budget ><solution>5</solution>", None, None),
    ],
)
def test_malformed(text: str, budget: int | None, body: str | None) -> None:
    parsed = FORMAT.parse(text)
    assert not parsed.well_formed
    assert parsed.budget == budget
    if body is not None:
        assert parsed.body(text) == body


@pytest.mark.parametrize(
    ("text", "budget", "body"),
    [
        ("<budget>9</budget><solution></solution>", 9, ""),
        ("<budget>9</budget>\n<solution>\n5\n</solution>\n", 9, "\n5\n"),
        (" <budget> 9 </budget> <solution> 2 + 3 = 5 </solution>", 9, " 2 + 3 = 5 "),
        ("<budget>009</budget><solution>5</solution>", 9, "5"),
        ("<budget>999999999</budget><solution>5</solution>", 999_999_999, "5"),
        ("<budget>9</budget><solution>a < b > c, <b>5</b></solution>", 9, "a < b > c, <b>5</b>"),
        ("<budget>9</budget><solution><think>hm</think>5</solution>", 9, "<think>hm</think>5"),
    ],
)
def test_well_formed(text: str, budget: int, body: str) -> None:
    parsed = FORMAT.parse(text)
    assert (parsed.well_formed, parsed.budget, parsed.body(text)) == (True, budget, body)


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_is_positive(budget: int) -> None:
    with pytest.raises(ValueError, match="positive number of tokens"):
        FORMAT.prefill(budget)
    with pytest.raises(ValueError, match="positive number of tokens"):
        rendered(budget, "5")


def test_plain_text_is_all_body() -> None:
    plain = PlainFormat()
    text = "Wait, <budget>3</budget> is text like any other."
    parsed = plain.parse(text)
    assert (parsed.well_formed, parsed.budget, parsed.body(text)) == (True, None, text)
    assert not plain.parse(" \n").well_formed


def test_formats_are_found_under_their_names() -> None:
    assert {"budget", "difficulty", "plain", "prompt_budget"} <= set(format_names())
    assert [format_class(name)().name for name in format_names()] == format_names()


@pytest.mark.parametrize("name", format_names())
def test_every_format_reads_what_it_teaches(name: str) -> None:
    fmt = format_class(name)()
    right = Outcome(well_formed=True, correct=True, length=9)
    group = [right, *[replace(right, correct=False)] * (fmt.samples_to_teach - 1)]
    body = "2+3=5 \\boxed{5}"
    text = fmt.checked_target(right, group, budget=9).around(body)
    parsed = fmt.parse(text)
    assert parsed.well_formed and parsed.body(text).strip() == body
    assert 0 in fmt.select_for_teaching(group)
    assert not fmt.parse("").well_formed
    # A taught format puts something around the body, and describes it to the user of the trained model.
    assert fmt.taught == (text != body)
    assert not fmt.taught or fmt.explain().response


@pytest.mark.parametrize(
    ("text", "well_formed", "easy", "body"),
    [
        ("[Easy] 2+3=5", True, True, " 2+3=5"),
        ("\n[Hard]2+3=5", True, False, "2+3=5"),
        ("2+3=5", False, None, "2+3=5"),
        ("so [Easy] 2+3=5", False, None, "so [Easy] 2+3=5"),
        ("[Easy] ", False, True, " "),
    ],
)
def test_a_difficulty_tag_comes_first(text: str, well_formed: bool, easy: bool | None, body: str) -> None:
    parsed = DifficultyFormat().parse(text)
    assert (parsed.well_formed, parsed.easy, parsed.body(text)) == (well_formed, easy, body)


def test_difficulty_tags_are_matched_as_text() -> None:
    fmt = DifficultyFormat(easy_tag="(e.)", hard_tag="(h.)")
    assert fmt.parse("(e.) 5").easy is True and fmt.parse("(h.) 5").easy is False and fmt.parse("(ex) 5").easy is None
