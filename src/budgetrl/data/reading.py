"""Convert the fields of a row into a `Problem`: field names, gold answers, levels, multiple choice."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.grading.answers import last_boxed

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# GSM8K's solutions contain calculator annotations, such as "48/2 = <<48/2=24>>24".
_CALCULATOR_ANNOTATION = re.compile(r"<<[^<>]*>>")


class BadRowError(ValueError):
    """A row cannot be used; the message says why."""


@dataclass(frozen=True)
class Fields:
    """The names of the fields of a row."""

    id: str | None = "id"
    """Unique name of the problem. If null, or in rows without it: built from the file or data set name and the row
    number."""
    problem: str = "problem"
    """The question."""
    answer: str = "answer"
    """The field with the gold answer; `answer_from` says how to extract it. A number is converted to text; the items of
    a list of strings are joined with commas."""
    level: str | None = "level"
    """Difficulty: a number, or text that contains one ("Level 3"), rounded. If null or absent: no level."""
    solution: str | None = "solution"
    """A worked solution. If null or absent: none."""
    wrong_answers: tuple[str, ...] = ()
    """Multiple choice: the fields with the wrong choices. The order of the choices is derived from the id."""


@dataclass(frozen=True)
class RowReader:
    """Reads the rows of one data set."""

    name: str
    """Name of the data set; becomes `Problem.source`."""
    fields: Fields = field(default_factory=Fields)
    answer_from: str = "field"
    """A key of `ANSWERS`."""

    def problem(self, values: Mapping[str, object], default_id: str) -> Problem:
        """Return the problem in a row.

        Raises:
            BadRowError: if a field is missing or holds something that cannot be used.

        >>> RowReader("mine").problem({"problem": "1+1?", "answer": 2}, "mine-1").answer
        '2'
        """
        fields = self.fields
        solution = values.get(fields.solution) if fields.solution else None
        if solution is not None and not isinstance(solution, str):
            raise BadRowError(f"field {fields.solution!r} is not a string")
        if solution is not None and self.answer_from == "gsm8k":
            solution = worked_solution(solution)
        id_ = _id(values, fields.id, default_id)
        problem = _required_text(values, "problem", fields.problem)
        extract = ANSWERS[self.answer_from]
        answer = extract(_answer_text(values, fields.answer))
        if fields.wrong_answers:
            wrong = [_required_text(values, "wrong_answers", name) for name in fields.wrong_answers]
            problem, answer = multiple_choice(id_, problem, answer, wrong)
        level = _level(values.get(fields.level) if fields.level else None)
        return Problem(id=id_, problem=problem, answer=answer, level=level, source=self.name, solution=solution)


def multiple_choice(id_: str, question: str, right: str, wrong: Sequence[str]) -> tuple[str, str]:
    """Return the question with lettered choices, and the letter of the right one."""
    # The order depends on the id alone, so that a problem looks the same in every run and the right choice has no
    # preferred position.
    choices = sorted([right, *wrong], key=lambda choice: derive_seed("choices", id_, choice))
    lines = [question, ""]
    for letter, choice in zip(ascii_uppercase, choices, strict=False):
        lines.append(f"{letter}) {choice}")
    lines += ["", "Answer with the letter of one choice."]
    return "\n".join(lines), ascii_uppercase[choices.index(right)]


def worked_solution(text: str) -> str:
    """Return GSM8K's answer field without its calculator annotations and its final `#### 24` line.

    >>> worked_solution("48/2 = <<48/2=24>>24 clips.\\n#### 24")
    '48/2 = 24 clips.'
    """
    solution = text.rpartition("####")[0] or text  # rpartition puts everything last if there is no ####
    return _CALCULATOR_ANNOTATION.sub("", solution).strip()


def _required_value(values: Mapping[str, object], role: str, name: str) -> object:
    """The value of a field that every row must have. `role` is its key in `dataset.fields`."""
    value = values.get(name)
    if value is None:
        names = ", ".join(sorted(values)) or "none"
        raise BadRowError(f"no field {name!r} (the fields are: {names}); set dataset.fields.{role}=<name>")
    return value


def _required_text(values: Mapping[str, object], role: str, name: str) -> str:
    value = _required_value(values, role, name)
    if not isinstance(value, str):
        raise BadRowError(f"field {name!r} must be a string, not {type(value).__name__}")
    if not value.strip():
        raise BadRowError(f"field {name!r} is empty")
    return value.strip()


def _answer_text(values: Mapping[str, object], name: str) -> str:
    """The content of the answer field as text; numbers and lists of strings are converted."""
    value = _required_value(values, "answer", name)
    # bool is a subclass of int, but True is not an answer.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return _required_text(values, "answer", name)


def _after_hashes(text: str) -> str:
    answer = text.rpartition("####")[2].strip().replace(",", "")
    if "####" not in text or not answer:
        raise BadRowError("the answer field must end in `#### <answer>` (dataset.answer_from=gsm8k)")
    return answer


def _boxed(text: str) -> str:
    answer = (last_boxed(text) or "").strip()
    if not answer:
        raise BadRowError(r"the answer field has no \boxed{} (dataset.answer_from=boxed)")
    return answer


ANSWERS: dict[str, Callable[[str], str]] = {"field": str, "gsm8k": _after_hashes, "boxed": _boxed}
"""Functions that extract the gold answer from its field, by value of `answer_from`."""


def _id(values: Mapping[str, object], name: str | None, default: str) -> str:
    value = values.get(name) if name else None
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRowError(f"field {name!r} must be a string or an integer")
    return str(value)


def _level(value: object) -> int | None:
    """The level, rounded; None for text without a number, such as "Level ?" in MATH."""
    if isinstance(value, str):
        number = _NUMBER.search(value)
        value = float(number.group()) if number else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRowError(f"level {value!r} is not a number")
    return math.floor(value + 0.5)  # round() would round 4.5 down to 4, to the even number
