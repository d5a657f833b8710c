"""Read completions logged by other evaluation harnesses, and write our own in the format of one of them.

- lm-evaluation-harness (checked with 0.4.13.dev0, commit 4e7e0d4), option `--log_samples`: the file
  `samples_<task>_<date>.jsonl` has one object per doc and filter. `doc` is the row of the data set, `resps` has one
  list of response texts per request.
- lighteval (checked with 0.13.1.dev0, commit 3fd1526): the file `details_<task>_<date>.parquet`, or the same rows as
  JSONL, has one row per doc. `doc` has `id`, `query`, `choices` and `gold_index`; `model_response` has the response
  texts in `text`.

Neither records whether a completion was truncated.
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
from budgetrl.core.messages import Message
from budgetrl.data.reading import BadRowError, Fields, RowReader
from budgetrl.data.sources.base import DatasetSettings
from budgetrl.runs.folder import Row

FILTER = "none"
"""The name that lm-evaluation-harness gives to the default filter, which takes the first response unchanged."""


def logged_completions(path: Path, harness: str, dataset: DatasetSettings) -> list[tuple[str, Row]]:
    """Return one row per completion together with its location (file and line).

    A row has `problem_id`, `problem`, `answer`, `level` and `completion`; completions of one doc share `problem_id`.
    `harness` is a key of `HARNESSES`. For lm-evaluation-harness, `dataset.fields` names the fields of a doc, plus
    `target`; for both harnesses `dataset.answer_from` says how to extract the gold answer.

    Raises:
        RequestError: naming file and line, for a row that cannot be used.
    """
    completions: list[tuple[str, Row]] = []
    first_use: dict[str, str] = {}  # problem id -> location of its row
    first_filter: object = None
    for n, (where, logged) in enumerate(_logged_rows(path)):
        # A task with several filters logs the same completions once per filter. Only the first filter's are used.
        if n == 0:
            first_filter = logged.get("filter")
        if logged.get("filter") != first_filter:
            continue
        try:
            rows = HARNESSES[harness](logged, dataset.reader)
            id_ = rows[0]["problem_id"]  # the same in all rows of a doc
            if id_ in first_use:
                raise BadRowError(f"problem {id_!r} was already defined in {first_use[id_]}")
        except BadRowError as error:
            raise RequestError(Message(where, str(error))) from error
        first_use[id_] = where
        for row in rows:
            completions.append((where, row))
    if not completions:
        raise RequestError(Message(str(path), "the file has no rows"))
    return completions


def _logged_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a JSONL or Parquet file and their locations."""
    if path.suffix != ".parquet":
        return read_objects(path)
    from pyarrow import parquet  # slow to import, and only this file format needs it

    rows = parquet.read_table(path).to_pylist()
    return ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def _from_lm_eval(logged: Mapping[str, Any], reader: RowReader) -> list[Row]:
    """Convert one object logged by lm-evaluation-harness."""
    doc = _require_mapping(_require(logged, "doc"), "doc")
    requests = _require(logged, "resps")
    # Multiple-choice tasks make one request per choice, to compare likelihoods instead of generating.
    if not isinstance(requests, list) or len(requests) != 1:
        raise BadRowError("resps: must hold the responses to one request; only generation tasks can be scored")
    values = {"target": logged.get("target"), **doc}
    return _rows_of_doc(values, reader, str(_require(logged, "doc_id")), requests[0], "resps")


def _from_lighteval(logged: Mapping[str, Any], reader: RowReader) -> list[Row]:
    """Convert one row logged by lighteval."""
    doc = _require_mapping(_require(logged, "doc"), "doc")
    response = _require_mapping(_require(logged, "model_response"), "model_response")
    if any(response.get("reasonings") or ()):
        raise BadRowError(
            "model_response.reasonings: the server split off the thinking; log complete responses to measure lengths"
        )
    values = {"problem": doc.get("query"), "answer": _gold(doc)}
    # lighteval's field names are fixed, so dataset.fields does not apply.
    default_fields = replace(reader, fields=Fields())
    return _rows_of_doc(values, default_fields, str(_require(doc, "id")), response.get("text"), "text")


HARNESSES: dict[str, Callable[[Mapping[str, Any], RowReader], list[Row]]] = {
    "lm_eval": _from_lm_eval,
    "lighteval": _from_lighteval,
}
"""Functions that convert one logged row into rows of completions, by harness."""


def _rows_of_doc(values: Mapping[str, object], reader: RowReader, id_: str, texts: object, key: str) -> list[Row]:
    """One row per response text. `values` are the fields of the doc; `key` is where the texts were logged."""
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRowError(f"{key}: must be a list of strings; only generation tasks can be scored")
    if reader.fields.wrong_answers:
        raise BadRowError("the order of the choices was not logged; set dataset.fields.wrong_answers=[]")
    problem = reader.problem(values, id_)
    rows: list[Row] = []
    for text in texts:
        rows.append(
            {
                "problem_id": problem.id,
                "problem": problem.problem,
                "answer": problem.answer,
                "level": problem.level,
                "completion": text,
            }
        )
    return rows


def _gold(doc: Mapping[str, Any]) -> object:
    """The gold answer in a doc of lighteval: its one right choice, which is the only choice of an open question."""
    choices, gold_index = _require(doc, "choices"), _require(doc, "gold_index")
    indices = gold_index if isinstance(gold_index, list) else [gold_index]
    if len(indices) != 1 or not isinstance(choices, list) or indices[0] not in range(len(choices)):
        raise BadRowError(f"doc.gold_index: {gold_index} must be the index of exactly one of doc.choices")
    return choices[indices[0]]


def _require(values: Mapping[str, Any], key: str) -> Any:
    if values.get(key) is None:
        names = ", ".join(sorted(values)) or "none"
        raise BadRowError(f"no field {key!r} (the fields are: {names}); check stage.input_format")
    return values[key]


def _require_mapping(value: object, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRowError(f"{key}: must be a JSON object, not {type(value).__name__}")
    return value


def as_lm_eval(rows: Sequence[Mapping[str, Any]], sampling: Mapping[str, object]) -> list[Row]:
    """Convert rows of completions.jsonl to the samples format of lm-evaluation-harness: one object per problem.

    The rows must belong to one pass of an evaluation over one data set. All completions of a problem go into `resps`.
    `exact_match` is the share that our grader found correct. The logged prompt is the problem alone, because a run
    folder does not store the chat template around it. `sampling` holds the sampling parameters under the harness's
    names, such as `max_gen_toks`.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    return [_lm_eval_object(n, group, sampling) for n, group in enumerate(groups.values())]


def _lm_eval_object(doc_id: int, group: Sequence[Mapping[str, Any]], sampling: Mapping[str, object]) -> Row:
    first = group[0]
    doc = {"id": first["problem_id"]}
    for key in ("problem", "answer", "level"):
        doc[key] = first.get(key)
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": first["answer"],
        "arguments": {"gen_args_0": {"arg_0": first["problem"], "arg_1": dict(sampling)}},
        "resps": [[row["text"] for row in group]],  # the outer list is over requests, of which there is one
        "filtered_resps": [first["text"]],
        "filter": FILTER,
        "metrics": ["exact_match"],
        # The harness hashes the doc as indented JSON; the hashes must match its own for the same data.
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(first["problem"]),
        "target_hash": _hash(first["answer"]),
        "exact_match": fmean(row["correct"] for row in group),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
