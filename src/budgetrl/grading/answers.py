r"""Finding the answer in a response, and settling plain integers and choices. Pure text, no math-verify.

An answer counts as marked if it stands in `\boxed{...}` or, as in GSM8K, ends the text as `#### 72`. A choice
is one of the letters A to J. math-verify reads `\boxed{B) 42}` as 42, and no letter outside of a box.
"""

import re

_BOX_TOKENS = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_FINAL_LINE = re.compile(r"####[ \t]*(-?\$?[0-9][0-9,]*(?:[./][0-9]+)?)\s*\Z")
_INTEGER = re.compile(r"\s*(-?)\s*([0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5})\s*")
_TRAILING = re.compile(r"(?:\\?%|\\[ ,;:!]|[\s.,;])+\Z")
_THOUSANDS_MARKS = re.compile(r",\\!\s?|\{,\}")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_CHOICE = re.compile(r"([A-J])|(?:\(([A-J])\)|([A-J])[).:])(?:\s+(?!and\b|or\b|&)[^,;]*)?", re.DOTALL)
_NAMED_CHOICE = re.compile(r"(?i:\b(?:answer|choice|option))(?i:\s+is)?\s*:?[\s*$]*\(?([A-J])\)?(?![\w'])")
_WRITING = re.compile(r"\s+|\\[ ,;:!]|\\left\b|\\right\b|\$")


def last_boxed(text: str) -> str | None:
    r"""What the last complete `\boxed{...}` holds, or None where there is none.

    Braces may nest, `\{` and `\}` do not count, and of two boxes the one that opens later wins, so
    a box in a box gives the inner one. One pass, linear in the length of the text.

    >>> last_boxed(r"\boxed{1}, no: \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    opened: list[int | None] = []
    best: tuple[int, int] | None = None
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
    r"""The answer a response marks: its last `\boxed{}`, else the number of a final `#### 72`, else None.

    Other uses of `####` are headings and mark nothing.

    >>> marked_answer("48 / 2 = 24\n#### 72")
    '72'
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return trim(boxed)
    final = _FINAL_LINE.search(text)
    return final[1] if final else None


def trim(answer: str) -> str:
    r"""An answer without dollar signs around it and without blanks, stops and percent signs behind it.

    math-verify reads none of `50.`, `50\%` and `50\ ` inside a box. That a percent sign does not
    matter (50 answers 50 %, and 0.5 does not) is the convention of GSM8K and MATH graders.

    >>> trim(r"$50\%$")
    '50'
    """
    answer = _TRAILING.sub("", answer.lstrip())
    if answer.count("$") == 2 and answer[0] == answer[-1] == "$":
        return trim(answer[1:-1])
    return answer


def as_integer(answer: str) -> int | None:
    r"""The value of a plain integer of at most 18 digits, or None for anything else.

    Thousands may be set off as `1,234`, `1,\!234` or `1{,}234`.

    >>> as_integer("-1,234"), as_integer("1,23"), as_integer("1.0")
    (-1234, None, None)
    """
    match = _INTEGER.fullmatch(_THOUSANDS_MARKS.sub(",", answer))
    return int(match[1] + match[2].replace(",", "")) if match else None


def as_choice(answer: str) -> str | None:
    r"""The letter of a choice, A to J, alone or before the text of the choice; None for anything else.

    >>> as_choice(r"\textbf{(B)}\ 42"), as_choice("B. forty-two"), as_choice("B"), as_choice("A, B"), as_choice("A B")
    ('B', 'B', 'B', None, None)
    """
    bare = _TEXT_COMMAND.sub(r"\1", answer).replace("\\ ", " ").strip(" $")
    match = _CHOICE.fullmatch(bare)
    return next(letter for letter in match.groups() if letter) if match else None


def named_choice(text: str) -> str | None:
    """The last choice a text names as its answer, or its last line if that is a choice; None where there is none.

    >>> named_choice("(A) is wrong. The answer is (C)."), named_choice("It must be\\n\\nD"), named_choice("A nice one")
    ('C', 'D', None)
    """
    named = _NAMED_CHOICE.findall(text)
    return named[-1] if named else as_choice(trim(text.strip().rpartition("\n")[2]).strip("*"))


def canonical(answer: str) -> str:
    r"""One writing for answers that differ in blanks, thousands marks or the kind of fraction alone.

    >>> canonical(r"\left( 1{,}000, \dfrac12 \right)"), canonical("1,000"), canonical("(B) 5")
    ('(1{,}000,\\frac12)', '1000', 'B')
    """
    integer = as_integer(answer)
    if integer is not None:
        return str(integer)
    return as_choice(answer) or _WRITING.sub("", answer.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac"))


def compare_simple(gold: str, answer: str) -> bool | None:
    """Whether two plain integers are equal, or two choices the same; None where math-verify must decide.

    A gold answer with a bare comma is left to math-verify, as it may be a list (`1,234` or `1, 234`).
    """
    choice, chosen = as_choice(gold), as_choice(answer)
    if choice and chosen:
        return choice == chosen
    expected, given = as_integer(gold), as_integer(answer)
    if expected is None or given is None or "," in _THOUSANDS_MARKS.sub("", gold):
        return None
    return expected == given
