"""Markdown tables of results, with ± one standard error."""

from collections.abc import Mapping, Sequence

from budgetrl.metrics.definitions import find
from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Key, Part, PartKind
from budgetrl.metrics.results import Results
from budgetrl.report.numbers import (
    ABSENT,
    BEFORE_AFTER_METRICS,
    SINGLE_EVALUATION_METRICS,
    change,
    interval,
    levels_of,
    names,
    quantity,
)

_CUTOFF_METRICS = ("accuracy", "length")
_LEVEL_METRICS = ("accuracy", "length", "budget")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """Return a Markdown table. With `numbers`, all columns but the first are aligned to the right."""
    rule = ["---"] + ["---:" if numbers else "---"] * (len(header) - 1)
    lines: list[str] = []
    for row in (header, rule, *rows):
        cells = " | ".join(map(_escape_cell, row))
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def before_after(initial: Results, trained: Results, changes: Results) -> str:
    """Return a table of one data set with a row per metric: initial model, trained model and change.

    `changes` holds the paired changes of the run; see `_difference` for metrics without one.
    """
    rows = []
    for key, name in names(BEFORE_AFTER_METRICS, [initial, trained]).items():
        before = quantity(key.metric, initial.get(key))
        after = quantity(key.metric, trained.get(key))
        rows.append([name, before, after, _difference(key, initial, trained, changes)])
    return markdown(["metric", "initial", "trained", "change (95 % CI)"], rows)


def evaluation(by_name: Mapping[str, Results]) -> str:
    """Return a table with a row per metric and a column per data set (or run)."""
    rows: list[list[str]] = []
    for key, name in names(SINGLE_EVALUATION_METRICS, list(by_name.values())).items():
        row = [name]
        row += [quantity(key.metric, results.get(key)) for results in by_name.values()]
        rows.append(row)
    return markdown(["metric", *by_name], rows)


def gains(by_name: Mapping[str, Results]) -> str:
    """Return a table of the changes from an earlier evaluation, with a row per data set."""
    rows = []
    for name, results in by_name.items():
        compression = results.get("compression")
        ends = compression.interval if compression else None
        shorter_by = quantity("compression", compression) + interval("compression", ends, sign="-")
        rows.append([name, _change("accuracy", results.get("accuracy_change")), shorter_by])
    return markdown(["data set", "accuracy change (95 % CI)", "length reduction (95 % CI)"], rows)


def cutoffs(results: Results) -> str:
    """Return a table of one data set with a row per cutoff: accuracy and mean length if every answer stops there."""
    rows = []
    for cutoff in results.part_numbers(PartKind.CUTOFF):
        row = [f"{cutoff:,}"]
        for metric in _CUTOFF_METRICS:
            key = Key(metric, part=Part(PartKind.CUTOFF, cutoff))
            row.append(quantity(metric, results.get(key)))
        rows.append(row)
    headings = [find(metric).name for metric in _CUTOFF_METRICS]
    return markdown(["cutoff, tokens", *headings], rows)


def by_level(models: Mapping[str, Results]) -> str:
    """Return a table with a row per level and, for each metric, a column per model that has it."""
    levels = levels_of(models.values())
    header = ["level"]
    rows = [[str(level)] for level in levels]
    for metric in _LEVEL_METRICS:
        keys = [Key(metric, part=Part(PartKind.LEVEL, level)) for level in levels]
        for model, results in models.items():
            if not any(results.get(key) for key in keys):
                continue
            name = find(metric).name
            header.append(f"{name}: {model}" if model else name)
            for row, key in zip(rows, keys, strict=True):
                row.append(quantity(metric, results.get(key)))
    return markdown(header, rows)


def _difference(key: Key, initial: Results, trained: Results, changes: Results) -> str:
    """Return the change of a metric: paired if the run has the paired change, else the plain difference.

    The plain difference is shown without an error: the two models answer the same problems, so their errors are not
    independent and cannot be combined.
    """
    if key == Key("length") and (compression := changes.get("compression")):
        ends, word = compression.interval, "shorter"
        if compression.value < 0:
            # Write "10 % longer" instead of "-10 % shorter": negate the value, and negate and swap the ends.
            word = "longer"
            ends = ends and (-ends[1], -ends[0])
            compression = Estimate(-compression.value, compression.error)
        return f"{quantity('compression', compression)} {word}{interval('compression', ends, sign='-')}"
    if paired := changes.get(Key(f"{key.metric}_change", key.k)):
        return _change(key.metric, paired)
    before, after = initial.get(key), trained.get(key)
    if before is None or after is None:
        return ABSENT
    return change(key.metric, Estimate(after.value - before.value))


def _change(metric: str, difference: Estimate | None) -> str:
    """Return a difference of a metric, followed by its interval."""
    return change(metric, difference) + interval(metric, difference.interval if difference else None)


def _escape_cell(text: str) -> str:
    """Return a text with what would break the table escaped (pipes) or replaced (line breaks)."""
    return text.replace("|", "\\|").replace("\n", " ")
