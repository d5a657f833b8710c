"""From a row's fields to a problem: field names, answers, levels, choices."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.grading.answers import last_boxed

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


class BadRowError(ValueError):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Fields:
    """Under which names a row holds what is needed."""

    id: str | None = "id"
    """Unique name of the problem; null, or rows without it: made from file or set name and row number."""
    problem: str = "problem"
    """The question's text."""
    answer: str = "answer"
    """What holds the gold answer; `answer_from` says how it is cut out. Numbers are taken as text, a list as
    its texts with commas between."""
    level: str | None = "level"
    """Difficulty, a number or a text with one ("Level 3"), rounded; null or absent: no levels."""
    solution: str | None = "solution"
    """A worked solution; null or absent: none."""
    wrong_answers: tuple[str, ...] = ()
    """Multiple choice: the fields with the wrong choices. Choices are lettered in an order made from the id."""


@dataclass(frozen=True)
class RowReader:
    """How the rows of a data set are read."""

    name: str
    """The data set's."""
    fields: Fields = field(default_factory=Fields)
    answer_from: str = "field"
    """A key of `ANSWERS`."""

    def problem(self, values: Mapping[str, object], default_id: str) -> Problem:
        """The problem in a row. Raises BadRowError.

        >>> RowReader("mine").problem({"problem": "1+1?", "answer": 2}, "mine-1").answer
        '2'
        """
        fields = self.fields
        solution = values.get(fields.solution) if fields.solution else None
        if solution is not None and not isinstance(solution, str):
            raise BadRowError(f"field {fields.solution!r} is not a text")
        if solution is not None and self.answer_from == "gsm8k":
            solution = worked_solution(solution)
        id_ = _id(values, fields.id, default_id)
        problem = _text(values, "problem", fields.problem)
        answer = ANSWERS[self.answer_from](_answer_text(values, fields.answer))
        if fields.wrong_answers:
            wrong = [_text(values, "wrong_answers", name) for name in fields.wrong_answers]
            problem, answer = multiple_choice(id_, problem, answer, wrong)
        level = _level(values.get(fields.level) if fields.level else None)
        return Problem(id=id_, problem=problem, answer=answer, level=level, source=self.name, solution=solution)


def multiple_choice(id_: str, question: str, right: str, wrong: Sequence[str]) -> tuple[str, str]:
    """The question with lettered choices, in an order that depends on the id alone, and the letter of the right one."""
    choices = sorted([right, *wrong], key=lambda choice: derive_seed("choices", id_, choice))
    listed = [f"{letter}) {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    lines = [question, "", *listed, "", "Answer with the letter of one choice."]
    return "\n".join(lines), ascii_uppercase[choices.index(right)]


def worked_solution(text: str) -> str:
    """GSM8K's answer field without its calculator marks and its final line.

    >>> worked_solution("48/2 = <<48/2=24>>24 clips.\\n#### 24")
    '48/2 = 24 clips.'
    """
    return _CALCULATOR_MARK.sub("", text.rpartition("####")[0] or text).strip()


def _field(values: Mapping[str, object], role: str, name: str) -> object:
    value = values.get(name)
    if value is None:
        names = ", ".join(sorted(values)) or "none"
        raise BadRowError(f"no field {name!r} (it has: {names}); dataset.fields.{role}=<name> names another")
    return value


def _text(values: Mapping[str, object], role: str, name: str) -> str:
    value = _field(values, role, name)
    if not isinstance(value, str):
        raise BadRowError(f"field {name!r} is not a text but {type(value).__name__}")
    if not value.strip():
        raise BadRowError(f"field {name!r} is empty")
    return value.strip()


def _answer_text(values: Mapping[str, object], name: str) -> str:
    value = _field(values, "answer", name)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return _text(values, "answer", name)


def _after_hashes(text: str) -> str:
    answer = text.rpartition("####")[2].strip().replace(",", "")
    if "####" not in text or not answer:
        raise BadRowError("the answer field does not end in `#### <answer>`, as dataset.answer_from=gsm8k has it")
    return answer


def _boxed(text: str) -> str:
    answer = (last_boxed(text) or "").strip()
    if not answer:
        raise BadRowError(r"the answer field has no \boxed{}, as dataset.answer_from=boxed has it")
    return answer


ANSWERS: dict[str, Callable[[str], str]] = {"field": str, "gsm8k": _after_hashes, "boxed": _boxed}
"""How the gold answer is cut out of its field, by the name that `answer_from` has for it."""


def _id(values: Mapping[str, object], name: str | None, default: str) -> str:
    value = values.get(name) if name else None
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRowError(f"field {name!r} is neither a text nor a whole number")
    return str(value)


def _level(value: object) -> int | None:
    """The level; None for a text without a number, such as the "Level ?" of MATH."""
    if isinstance(value, str):
        number = _NUMBER.search(value)
        value = float(number.group()) if number else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRowError(f"level {value!r} is not a number")
    return math.floor(value + 0.5)
