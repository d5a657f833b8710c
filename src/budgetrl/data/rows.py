"""From the rows of any source to problems: field names, answers, levels, and what to do with bad rows."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from budgetrl.core.records import Problem
from budgetrl.core.seeds import derive_seed
from budgetrl.data.spec import DataError, DatasetSettings, Fields, Loaded
from budgetrl.grading.answers import last_boxed

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


class BadRowError(ValueError):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Row:
    """A row before it is read."""

    where: str
    """File and line, or data set, split and row."""
    default_id: str
    read: Callable[[], Mapping[str, object]]
    """Gives the row's fields; raises BadRowError."""


def collect(rows: Iterable[Row], spec: DatasetSettings, source: str) -> Loaded:
    """All problems of `rows`; bad ones raise DataError or are skipped, as `spec.on_bad_row` says.

    Raises DataError too if no problem is left, or if an optional field that was named on purpose
    is in no row: most likely its name is misspelled.
    """
    problems: list[Problem] = []
    skipped: list[str] = []
    first_use: dict[str, str] = {}
    seen: set[str] = set()
    for row in rows:
        try:
            values = row.read()
            seen.update(values)
            problem = to_problem(values, spec, row.default_id)
            if problem.id in first_use:
                raise BadRowError(f"id {problem.id!r} is already that of {first_use[problem.id]}")
        except BadRowError as error:
            if spec.on_bad_row == "error":
                fix = "mend it, or set dataset.on_bad_row=skip to leave such rows out"
                raise DataError(f"{row.where}: {error}; {fix}") from error
            skipped.append(f"{row.where}: {error}")
        else:
            first_use[problem.id] = row.where
            problems.append(problem)
    if not problems:
        raise DataError(f"{source}: no problem in it{f'; first bad row: {skipped[0]}' if skipped else ''}")
    _check_names(spec.fields, seen, source)
    return Loaded(problems, skipped)


def to_problem(values: Mapping[str, object], spec: DatasetSettings, default_id: str) -> Problem:
    """Read one row. Raises BadRowError."""
    fields = spec.fields
    solution = values.get(fields.solution) if fields.solution else None
    if solution is not None and not isinstance(solution, str):
        raise BadRowError(f"field {fields.solution!r} is not a text")
    if solution is not None and spec.answer_from == "gsm8k":
        solution = worked_solution(solution)
    id_ = _id(values, fields.id, default_id)
    problem = _text(values, "problem", fields.problem)
    answer = _ANSWERS[spec.answer_from](_answer_text(values, fields.answer))
    if fields.wrong_answers:
        wrong = [_text(values, "wrong_answers", name) for name in fields.wrong_answers]
        problem, answer = multiple_choice(id_, problem, answer, wrong)
    return Problem(
        id=id_,
        problem=problem,
        answer=answer,
        level=_level(values.get(fields.level) if fields.level else None),
        source=spec.name,
        solution=solution,
    )


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


_ANSWERS: dict[str, Callable[[str], str]] = {"field": str, "gsm8k": _after_hashes, "boxed": _boxed}


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
        raise BadRowError(f"level {value!r} is no number")
    return math.floor(value + 0.5)


def _check_names(fields: Fields, seen: set[str], source: str) -> None:
    """Optional fields may be absent, but not one that the user has named."""
    for role in ("id", "level", "solution"):
        name = getattr(fields, role)
        if name not in (None, getattr(Fields(), role)) and name not in seen:
            names = ", ".join(sorted(seen))
            raise DataError(f"dataset.fields.{role}: no row of {source} has {name!r}; its fields are {names}")
