"""Markdown tables with ± one standard error."""

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

_CUT = ("accuracy", "length")
_BY_LEVEL = ("accuracy", "length", "budget")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """A table; columns after the first stand to the right if they hold numbers."""
    rule = ["---"] + ["---:" if numbers else "---"] * (len(header) - 1)
    lines: list[str] = []
    for row in (header, rule, *rows):
        cells = " | ".join(map(_cell, row))
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def before_after(initial: Results, trained: Results, changes: Results) -> str:
    """One data set, one row per metric: initial model, trained model, and what the difference is."""
    rows = []
    for key, name in names(BEFORE_AFTER_METRICS, [initial, trained]).items():
        before = quantity(key.metric, initial.get(key))
        after = quantity(key.metric, trained.get(key))
        rows.append([name, before, after, _difference(key, initial, trained, changes)])
    return markdown(["", "initial", "trained", "change (95 % interval)"], rows)


def evaluation(by_name: Mapping[str, Results]) -> str:
    """One column per data set (or run), one row per metric."""
    rows: list[list[str]] = []
    for key, name in names(SINGLE_EVALUATION_METRICS, list(by_name.values())).items():
        row = [name]
        row += [quantity(key.metric, results.get(key)) for results in by_name.values()]
        rows.append(row)
    return markdown(["", *by_name], rows)


def gains(by_name: Mapping[str, Results]) -> str:
    """What evaluations changed against others of the same problems, a row for each."""
    rows = []
    for name, results in by_name.items():
        gained, shorter = results.get("accuracy_change"), results.get("compression")
        ends = shorter.interval if shorter else None
        shorter_by = quantity("compression", shorter) + interval("compression", ends, sign="-")
        rows.append([name, _change("accuracy", gained), shorter_by])
    return markdown(["", "accuracy gained (95 % interval)", "shorter by (95 % interval)"], rows)


def cutoffs(results: Results) -> str:
    """One data set, one row per cut-off: what is right by then, and how long answers are if they are cut there."""
    rows = []
    for cutoff in results.part_numbers(PartKind.CUTOFF):
        row = [f"{cutoff:,}"]
        for metric in _CUT:
            key = Key(metric, part=Part(PartKind.CUTOFF, cutoff))
            row.append(quantity(metric, results.get(key)))
        rows.append(row)
    headings = [find(metric).name for metric in _CUT]
    return markdown(["cut off at, tokens", *headings], rows)


def by_level(models: Mapping[str, Results]) -> str:
    """One row per level; for each metric a column per model that has it."""
    levels = levels_of(models.values())
    titles: list[str] = []
    columns: list[list[str]] = []
    for metric in _BY_LEVEL:
        keys = [Key(metric, part=Part(PartKind.LEVEL, level)) for level in levels]
        for model, results in models.items():
            if any(results.get(key) for key in keys):
                name = find(metric).name
                titles.append(f"{name}: {model}" if model else name)
                columns.append([quantity(metric, results.get(key)) for key in keys])
    rows = [[str(level), *numbers] for level, *numbers in zip(levels, *columns, strict=True)]
    return markdown(["level", *titles], rows)


def _difference(key: Key, initial: Results, trained: Results, changes: Results) -> str:
    """The paired difference where the run has it; else the bare difference, whose error is not known."""
    if key == Key("length") and (shorter := changes.get("compression")):
        ends, word = shorter.interval, "shorter"
        if shorter.value < 0:
            # "10 % longer", not "-10 % shorter": all is turned around.
            word = "longer"
            ends = ends and (-ends[1], -ends[0])
            shorter = Estimate(-shorter.value, shorter.error)
        return f"{quantity('compression', shorter)} {word}{interval('compression', ends, sign='-')}"
    if paired := changes.get(Key(f"{key.metric}_change", key.k)):
        return _change(key.metric, paired)
    before, after = initial.get(key), trained.get(key)
    return change(key.metric, Estimate(after.value - before.value)) if before and after else ABSENT


def _change(metric: str, difference: Estimate | None) -> str:
    """A difference of a metric with its interval behind it."""
    return change(metric, difference) + interval(metric, difference.interval if difference else None)


def _cell(text: str) -> str:
    """A text with what would break a table apart escaped or left out."""
    return text.replace("|", "\\|").replace("\n", " ")
