"""Completions that other harnesses logged, as rows to score; and ours, as one of them logs its own.

- lm-evaluation-harness (looked at: 0.4.13.dev0, commit 4e7e0d4), `--log_samples`: `samples_<task>_<date>.jsonl` has an
  object for each doc and filter. `doc` is the data set's row, `resps` holds for each request its repeats, as texts.
- lighteval (looked at: 0.13.1.dev0, commit 3fd1526): `details_<task>_<date>.parquet`, or the same rows as JSONL, has
  a row for each doc. `doc` holds `id`, `query`, `choices` and `gold_index`, `model_response` its samples as `text`.

Neither says whether a completion was cut off.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from budgetrl.core.errors import RequestError
from budgetrl.core.jsonl import read_objects
from budgetrl.data.reading import BadRowError, Fields, RowReader
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.runs.folder import Row

FILTER = "none"
"""What lm-evaluation-harness calls the filter of a task that names none: the first response as it is."""


def logged_completions(path: Path, harness: str, dataset: DatasetSettings) -> list[tuple[str, Row]]:
    """A row per completion, and where it stands: `problem_id`, `problem`, `answer`, `level`, `completion`.

    Completions of one doc share its `problem_id`. `harness` is a key of `HARNESSES`. Of lm-evaluation-harness
    `dataset.fields` names the fields of a doc, to which `target` is added; `dataset.answer_from` says for both how
    the gold answer is cut out. Where a task has several filters, which repeat its completions, the first counts.

    Raises:
        RequestError: naming file and line, for a row that cannot be used.
    """
    completions: list[tuple[str, Row]] = []
    first_use: dict[str, str] = {}
    counted: object = None
    for n, (where, logged) in enumerate(_logged_rows(path)):
        try:
            counted = logged.get("filter") if n == 0 else counted
            if logged.get("filter") != counted:
                continue
            rows = HARNESSES[harness](logged, dataset.reader)
            id_ = rows[0]["problem_id"]  # the same in all of them
            if id_ in first_use:
                raise BadRowError(f"problem {id_!r} is already that of {first_use[id_]}")
        except BadRowError as error:
            raise RequestError(f"{where}: {error}") from error
        first_use[id_] = where
        completions += [(where, row) for row in rows]
    if not completions:
        raise RequestError(f"{path}: there is no row in it")
    return completions


def _logged_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a JSONL or Parquet file, and where each stands."""
    if path.suffix != ".parquet":
        return read_objects(path)
    from pyarrow import parquet

    rows = parquet.read_table(path).to_pylist()
    return ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def _of_lm_eval(logged: Mapping[str, Any], reader: RowReader) -> list[Row]:
    """The rows of an object that lm-evaluation-harness logged."""
    doc = _mapping(_needed(logged, "doc"), "doc")
    requests = _needed(logged, "resps")
    if not isinstance(requests, list) or len(requests) != 1:
        raise BadRowError("resps: not those of one request; only tasks that generate texts can be scored")
    values = {"target": logged.get("target"), **doc}
    return _rows(values, reader, str(_needed(logged, "doc_id")), requests[0], "resps")


def _of_lighteval(logged: Mapping[str, Any], reader: RowReader) -> list[Row]:
    """The rows of an object that lighteval logged, whose names of fields are its own."""
    doc = _mapping(_needed(logged, "doc"), "doc")
    response = _mapping(_needed(logged, "model_response"), "model_response")
    if any(response.get("reasonings") or ()):
        raise BadRowError("model_response.reasonings: a server took the thinking off; no length could be measured")
    values = {"problem": doc.get("query"), "answer": _gold(doc)}
    own_fields = replace(reader, fields=Fields())
    return _rows(values, own_fields, str(_needed(doc, "id")), response.get("text"), "text")


HARNESSES: dict[str, Callable[[Mapping[str, Any], RowReader], list[Row]]] = {
    "lm_eval": _of_lm_eval,
    "lighteval": _of_lighteval,
}


def _rows(values: Mapping[str, object], reader: RowReader, id_: str, texts: object, key: str) -> list[Row]:
    """A row per text of a doc, whose fields are `values`."""
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRowError(f"{key}: not a list of texts; only tasks that generate texts can be scored")
    if reader.fields.wrong_answers:
        raise BadRowError("the order of the choices is not known; set dataset.fields.wrong_answers=[]")
    problem = reader.problem(values, id_)
    shared = {key: getattr(problem, key) for key in ("problem", "answer", "level")}
    return [{"problem_id": problem.id, **shared, "completion": text} for text in texts]


def _gold(doc: Mapping[str, Any]) -> object:
    """The one right choice of lighteval, which for an open question is its only choice."""
    choices, index = _needed(doc, "choices"), _needed(doc, "gold_index")
    [*places] = index if isinstance(index, list) else [index]
    if len(places) != 1 or not isinstance(choices, list) or places[0] not in range(len(choices)):
        raise BadRowError(f"doc.gold_index: {index} does not name one of the choices, which is the gold answer")
    return choices[places[0]]


def _needed(values: Mapping[str, Any], key: str) -> Any:
    if values.get(key) is None:
        names = ", ".join(sorted(values)) or "none"
        raise BadRowError(f"no field {key!r} (it has: {names}); is stage.input_format right?")
    return values[key]


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRowError(f"{what}: not a JSON object but {type(value).__name__}")
    return value


def as_lm_eval(rows: Sequence[Mapping[str, Any]], sampling: Mapping[str, object]) -> list[Row]:
    """One pass of an evaluation over one data set, as lm-evaluation-harness logs it: an object per problem.

    `rows` are of completions.jsonl; the completions of a problem become its repeats. `exact_match` is the share of them
    that is right, by our grader. The prompt is the problem: the template around it is not kept in a run folder.
    `sampling` goes beside it, under the harness's names.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    return [_logged(n, group, sampling) for n, group in enumerate(groups.values())]


def _logged(doc_id: int, group: Sequence[Mapping[str, Any]], sampling: Mapping[str, object]) -> Row:
    first = group[0]
    doc = {"id": first["problem_id"]}
    for key in ("problem", "answer", "level"):
        doc[key] = first.get(key)
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": first["answer"],
        "arguments": {"gen_args_0": {"arg_0": first["problem"], "arg_1": dict(sampling)}},
        "resps": [[row["text"] for row in group]],
        "filtered_resps": [first["text"]],
        "filter": FILTER,
        "metrics": ["exact_match"],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(first["problem"]),
        "target_hash": _hash(first["answer"]),
        "exact_match": fmean(row["correct"] for row in group),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
