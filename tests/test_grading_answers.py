"""Finding answers in text, and settling plain integers without math-verify."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.grading.answers import (
    as_choice,
    as_integer,
    canonical,
    compare_simple,
    last_boxed,
    marked_answer,
    named_choice,
    trim,
)
from budgetrl.grading.worker import load_check

plain = st.text(alphabet="ab12 ,.\\!$^", max_size=12).filter(lambda text: not text.endswith("\\"))
balanced = st.recursive(
    plain, lambda inner: st.tuples(plain, inner, plain).map(lambda t: f"{t[0]}{{{t[1]}}}{t[2]}"), max_leaves=4
).filter(lambda text: "\\{" not in text and "\\}" not in text)


@given(plain, balanced, st.text(alphabet="xyz 12", max_size=10))
def test_a_box_gives_back_what_was_put_in(before: str, content: str, after: str) -> None:
    assert last_boxed(f"{before} \\boxed{{{content}}}{after}") == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x > 0 \right.} or \boxed{\left\{ x < 0 \right.}", r"\left\{ x < 0 \right."),
        (r"\boxed{a \\ b}", r"a \\ b"),
        (r"\boxed {7}", "7"),
        (r"\boxed{x = \boxed{3}}", "3"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"stray } and { \boxed{4}", "4"),
        (r"\boxed{\boxed{", None),
        ("no box, {just} braces", None),
        (r"\fbox{3}", None),
    ],
)
def test_the_last_complete_box_counts(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


def test_many_open_boxes_take_one_pass() -> None:
    """Quadratic search would need hours for this."""
    text = "\\boxed{" * 200_000
    assert last_boxed(text) is None
    assert last_boxed(text + "5}") == "5"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 2+3=5\n#### 5", "5"),
        ("so it is $1,200\n#### $1,200 \n", "$1,200"),
        ("#### Step 2\nwe get 5", None),
        ("#### 3\nmore text", None),
        (r"\boxed{4}" + "\n#### 5", "4"),
        (r"\boxed{ 50\% }", "50"),
        ("the answer is 5", None),
    ],
)
def test_marked_answers(text: str, answer: str | None) -> None:
    assert marked_answer(text) == answer


@pytest.mark.parametrize(
    ("answer", "trimmed"),
    [
        (" 5. ", "5"),
        (r"5\%", "5"),
        ("5 %", "5"),
        (r"5\ ", "5"),
        ("$5$.", "5"),
        ("5!", "5!"),
        ("$a$ and $b$", "$a$ and $b$"),
        (r"\$5", r"\$5"),
        (r"\{1\}", r"\{1\}"),
        ("", ""),
        ("$$", ""),
    ],
)
def test_trim(answer: str, trimmed: str) -> None:
    assert trim(answer) == trimmed
    assert trim(trimmed) == trimmed


@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_integers_are_read_with_and_without_thousands_marks(value: int) -> None:
    grouped = f"{value:,}"
    spellings = [str(value), f" {grouped} ", grouped.replace(",", r",\!"), grouped.replace(",", "{,}")]
    assert [as_integer(spelling) for spelling in spellings] == [value] * 4


@pytest.mark.parametrize("text", ["", "-", "1,23", "1,2345", ",123", "1.0", "1e3", "x", "9" * 19, "٣", "1 2"])
def test_everything_else_is_no_plain_integer(text: str) -> None:
    assert as_integer(text) is None


def test_plain_integers_are_settled_unless_a_bare_comma_may_make_a_list() -> None:
    assert compare_simple("1,234", "1234") is None
    assert compare_simple(r"1,\!234", "1234") is True
    assert compare_simple("1234", "1,234") is True
    assert compare_simple("1234", "1,235") is False
    assert compare_simple("1/2", "1") is None
    assert compare_simple("2", "-2") is False


CHECK = load_check()


@given(st.integers(-2000, 200_000), st.sampled_from([0, 0, 1, -1, 1000]), st.sampled_from(["d", ",d"]))
def test_the_short_cut_agrees_with_math_verify(gold: int, offset: int, spelling: str) -> None:
    answer = format(gold + offset, spelling)
    _, correct, _ = CHECK(rf"\boxed{{{gold}}}", rf"\boxed{{{answer}}}")
    assert compare_simple(str(gold), answer) == correct == (offset == 0)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" (C) ", "C"),
        (r"\text{(D)}", "D"),
        (r"\textbf{(E) } 12", "E"),
        (r"\mathrm{A}", "A"),
        ("$A$", "A"),
        ("B) 42", "B"),
        ("B. An apple", "B"),
        ("B: x", "B"),
        ("A, B", None),
        ("(A) and (B)", None),
        ("(A), (B)", None),
        ("A or C", None),
        ("AB", None),
        ("b", None),
        ("K", None),
        ("x = B", None),
        ("", None),
    ],
)
def test_choices(answer: str, letter: str | None) -> None:
    assert as_choice(answer) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (B).", "B"),
        ("**Answer: C**", "C"),
        ("Answer:\n\nD", "D"),
        ("Option A fails, so the correct choice is B", "B"),
        ("so it must be\n\n(D)", "D"),
        ("**E**", "E"),
        ("The answer is 5", None),
        ("The answer is Always", None),
        ("A nice problem", None),
        ("", None),
    ],
)
def test_choices_named_in_a_text(text: str, letter: str | None) -> None:
    assert named_choice(text) == letter


def test_a_choice_is_settled_by_its_letter() -> None:
    assert compare_simple("B", "(B) 42") is True
    assert compare_simple(r"\text{(C)}", "C") is True
    assert compare_simple("B", "C") is False
    assert compare_simple("B", "42") is None
    assert compare_simple("42", "B") is None


def test_votes_do_not_depend_on_the_writing() -> None:
    assert canonical(r"\dfrac{1}{2}") == canonical(r" \frac{1} {2}")
    assert canonical(r"1{,}000") == canonical("1000") == "1000"
    assert canonical("(B) five") == canonical("B")
    assert canonical(r"\left(0, 1\right)") == "(0,1)"
    assert canonical("x") != canonical("y")
