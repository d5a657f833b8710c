"""Markdown tables with ± one standard error."""

from collections.abc import Mapping, Sequence

from budgetrl.report.metrics import ABSENT, BOTH, SINGLE, change, find, interval, names, quantity
from budgetrl.report.reading import Estimate, Results

_CUT = ("accuracy", "length")
_BY_LEVEL = ("accuracy", "length", "budget")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """A table; columns after the first stand to the right if they hold numbers."""
    rule = ["---"] + ["---:" if numbers else "---"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (header, rule, *rows))


def before_after(initial: Results, trained: Results, changes: Results) -> str:
    """One data set, one row per metric: initial model, trained model, and what the difference is."""
    rows = [
        [
            name,
            quantity(key, initial.get(key)),
            quantity(key, trained.get(key)),
            _difference(key, initial, trained, changes),
        ]
        for key, name in names(BOTH, [initial, trained]).items()
    ]
    return markdown(["", "initial", "trained", "change (95 % interval)"], rows)


def evaluation(by_name: Mapping[str, Results]) -> str:
    """One column per data set (or run), one row per metric."""
    rows = [
        [name, *(quantity(key, results.get(key)) for results in by_name.values())]
        for key, name in names(SINGLE, [*by_name.values()]).items()
    ]
    return markdown(["", *by_name], rows)


def gains(by_name: Mapping[str, Results]) -> str:
    """What evaluations changed against others of the same problems, a row for each."""
    rows = [
        [
            name,
            change("accuracy", results.get("accuracy_change"))
            + interval("accuracy", results.interval("accuracy_change")),
            quantity("compression", results.get("compression"))
            + interval("compression", results.interval("compression"), sign="-"),
        ]
        for name, results in by_name.items()
    ]
    return markdown(["", "accuracy gained (95 % interval)", "shorter by (95 % interval)"], rows)


def cutoffs(results: Results) -> str:
    """One data set, one row per cut-off: what is right by then, and how long answers are if they are cut there."""
    rows = [
        [f"{cutoff:,}", *(quantity(metric, results.get(f"cutoff_{cutoff}/{metric}")) for metric in _CUT)]
        for cutoff in results.cutoffs()
    ]
    return markdown(["cut off at, tokens", *(find(metric).name for metric in _CUT)], rows)


def by_level(models: Mapping[str, Results]) -> str:
    """One row per level; for each metric a column per model that has it."""
    columns = [
        (f"{find(metric).name}: {model}" if model else find(metric).name, metric, results)
        for metric in _BY_LEVEL
        for model, results in models.items()
        if any(results.get(f"level_{level}/{metric}") for level in results.levels())
    ]
    levels = sorted({level for results in models.values() for level in results.levels()})
    rows = [
        [
            str(level),
            *(quantity(metric, results.get(f"level_{level}/{metric}")) for _, metric, results in columns),
        ]
        for level in levels
    ]
    return markdown(["level", *(title for title, _, _ in columns)], rows)


def _difference(key: str, initial: Results, trained: Results, changes: Results) -> str:
    """The paired difference where the run has it; else the bare difference, whose error is not known."""
    if key == "length" and (shorter := changes.get("compression")):
        ends, longer = changes.interval("compression"), shorter.value < 0
        if longer:
            shorter = Estimate(-shorter.value, shorter.error)
            ends = ends and (-ends[1], -ends[0])
        word = "longer" if longer else "shorter"
        return f"{quantity('compression', shorter)} {word}{interval('compression', ends, sign='-')}"
    if paired := changes.get(f"{key}_change"):
        return f"{change(key, paired)}{interval(key, changes.interval(f'{key}_change'))}"
    before, after = initial.get(key), trained.get(key)
    return change(key, Estimate(after.value - before.value)) if before and after else ABSENT


def _cell(text: str) -> str:
    """Text that does not break a table apart."""
    return text.replace("|", "\\|").replace("\n", " ")
