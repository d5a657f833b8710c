r"""Extract the answer from a response, and compare integers and choices without math-verify.

A marked answer is in `\boxed{...}` or, as in GSM8K, ends the text as `#### 72`. A choice is one of the letters A to J.
Choices are handled here because math-verify parses `\boxed{B) 42}` as 42, and finds no letters outside a box.

Changing anything in this module may change verdicts: see `GRADER_VERSION`.
"""

import re

# The tokens that matter for matching braces. Escapes are matched too, so that `\{` is not taken for a brace.
_BOX_TOKENS = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
# GSM8K's last line, such as "#### -1,234", "#### $5" or "#### 3/4".
_FINAL_LINE = re.compile(r"####[ \t]*(-?\$?[0-9][0-9,]*(?:[./][0-9]+)?)\s*\Z")
# At most 18 digits, with commas only between groups of three.
_INTEGER = re.compile(r"\s*(-?)\s*([0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5})\s*")
# Percent signs, LaTeX spaces, whitespace and punctuation at the end of an answer.
_TRAILING = re.compile(r"(?:\\?%|\\[ ,;:!]|[\s.,;])+\Z")
# LaTeX's thousands separators, as in `1,\!000` and `1{,}000`.
_THOUSANDS_MARKS = re.compile(r",\\!\s?|\{,\}")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
# "B", or one of "(B)", "B)", "B." and "B:", optionally followed by the text of the choice. If that contains a comma or
# begins with "and" or "or", the answer is a list of choices and does not match.
_CHOICE = re.compile(r"([A-J])|(?:\(([A-J])\)|([A-J])[).:])(?:\s+(?!and\b|or\b|&)[^,;]*)?", re.DOTALL)
# "the answer is (B)", "Answer: B", "option C", but not "answer Bob".
_NAMED_CHOICE = re.compile(r"(?i:\b(?:answer|choice|option))(?i:\s+is)?\s*:?[\s*$]*\(?([A-J])\)?(?![\w'])")
# Notation without meaning: whitespace, LaTeX spaces, `\left`, `\right`, dollar signs.
_NOTATION = re.compile(r"\s+|\\[ ,;:!]|\\left\b|\\right\b|\$")


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{...}`, or None if there is none.

    Braces may nest; `\{` and `\}` are ignored. The box that opens last wins, so nested boxes give the inner one.
    Takes time linear in the length of the text.

    >>> last_boxed(r"\boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    # The open braces: for a box the position where its content starts, for any other brace None.
    opened: list[int | None] = []
    best: tuple[int, int] | None = None  # start and end of the content of the last box so far
    for token in _BOX_TOKENS.finditer(text):
        mark = token.group()
        if mark == "{":
            opened.append(None)
        elif mark.startswith(r"\boxed"):
            opened.append(token.end())
        elif mark == "}" and opened:
            start = opened.pop()
            if start is not None and (best is None or start > best[0]):
                best = (start, token.start())
    return text[best[0] : best[1]] if best else None


def marked_answer(text: str) -> str | None:
    r"""Return the last `\boxed{}`, else the number of a final `#### 72`, else None.

    Elsewhere in a text, `####` is a Markdown heading and marks no answer.

    >>> marked_answer("48 / 2 = 24\n#### 72")
    '72'
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return trim(boxed)
    final = _FINAL_LINE.search(text)
    return final[1] if final else None


def trim(answer: str) -> str:
    r"""Remove surrounding dollar signs and trailing whitespace, punctuation and percent signs from an answer.

    math-verify cannot parse `50.`, `50\%` or `50\ ` in a box. Ignoring the percent sign (50 equals 50 %, but 0.5 does
    not) is the convention of graders for GSM8K and MATH.

    >>> trim(r"$50\%$")
    '50'
    """
    answer = _TRAILING.sub("", answer.lstrip())
    if answer.count("$") == 2 and answer[0] == answer[-1] == "$":
        return trim(answer[1:-1])
    return answer


def as_integer(answer: str) -> int | None:
    r"""Return the value of an integer with at most 18 digits, or None for anything else.

    Thousands may be separated as in `1,234`, `1,\!234` or `1{,}234`.

    >>> as_integer("-1,234"), as_integer("1,23"), as_integer("1.0")
    (-1234, None, None)
    """
    match = _INTEGER.fullmatch(_THOUSANDS_MARKS.sub(",", answer))
    return int(match[1] + match[2].replace(",", "")) if match else None


def as_choice(answer: str) -> str | None:
    r"""Return the letter of a choice (A to J), alone or followed by the text of the choice; None for anything else.

    >>> as_choice(r"\textbf{(B)}\ 42"), as_choice("B. forty-two"), as_choice("B"), as_choice("A, B"), as_choice("A B")
    ('B', 'B', 'B', None, None)
    """
    bare = _TEXT_COMMAND.sub(r"\1", answer).replace("\\ ", " ").strip(" $")
    match = _CHOICE.fullmatch(bare)
    return match[1] or match[2] or match[3] if match else None


def named_choice(text: str) -> str | None:
    """Return the last choice that a text names as its answer, or its last line if that is a choice; else None.

    >>> named_choice("(A) is wrong. The answer is (C)."), named_choice("It must be\\n\\nD"), named_choice("A nice one")
    ('C', 'D', None)
    """
    named = _NAMED_CHOICE.findall(text)
    if named:
        return named[-1]
    last_line = text.strip().rpartition("\n")[2]
    return as_choice(trim(last_line).strip("*"))  # asterisks are Markdown bold


def canonical(answer: str) -> str:
    r"""Return a normalized form of an answer, the same for answers that differ only in notation. For counting votes.

    >>> canonical(r"\left( 1{,}000, \dfrac12 \right)"), canonical("1,000"), canonical("(B) 5")
    ('(1{,}000,\\frac12)', '1000', 'B')
    """
    integer = as_integer(answer)
    if integer is not None:
        return str(integer)
    same_fractions = answer.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    return as_choice(answer) or _NOTATION.sub("", same_fractions)


def compare_simple(gold: str, answer: str) -> bool | None:
    """Return whether two integers or two choices are equal; None if only math-verify can decide."""
    gold_choice, answer_choice = as_choice(gold), as_choice(answer)
    if gold_choice and answer_choice:
        return gold_choice == answer_choice
    gold_integer, answer_integer = as_integer(gold), as_integer(answer)
    # A gold answer with a plain comma may be a list: `1,234` could mean 1234, or 1 and 234.
    if gold_integer is None or answer_integer is None or "," in _THOUSANDS_MARKS.sub("", gold):
        return None
    return gold_integer == answer_integer
