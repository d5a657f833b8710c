r"""Finding the answer in a response, and settling the plain integers. Pure text, no math-verify.

An answer counts as marked if it stands in `\boxed{...}` or, as in GSM8K, ends the text as `#### 72`.
"""

import re

_BOX_TOKENS = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_FINAL_LINE = re.compile(r"####[ \t]*(-?\$?[0-9][0-9,]*(?:[./][0-9]+)?)\s*\Z")
_INTEGER = re.compile(r"\s*(-?)\s*([0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5})\s*")
_TRAILING = re.compile(r"(?:\\?%|\\[ ,;:!]|[\s.,;])+\Z")
_THOUSANDS_MARKS = re.compile(r",\\!\s?|\{,\}")


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


def settle(gold: str, answer: str) -> bool | None:
    """Whether two plain integers are equal; None where math-verify must decide.

    A gold answer with a bare comma is left to math-verify, as it may be a list (`1,234` or `1, 234`).
    """
    expected, given = as_integer(gold), as_integer(answer)
    if expected is None or given is None or "," in _THOUSANDS_MARKS.sub("", gold):
        return None
    return expected == given
