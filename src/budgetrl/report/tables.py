"""Markdown tables with ± one standard error."""

from collections.abc import Iterable, Mapping, Sequence

from budgetrl.report.reading import NOISE, Estimate, Results

NAMES = {
    "accuracy": "accuracy",
    "length": "length, tokens",
    "budget": "budget, tokens",
    "match_50": "length within 50 % of budget",
    "match_25": "length within 25 % of budget",
    "match_10": "length within 10 % of budget",
    "budget_level_rho": "rank correlation of budget and level",
    "format": "well formed",
    "truncated": "cut off at the token limit",
}
"""The metrics of an evaluation as a reader sees them, in table order."""

FURTHER = {
    "tokens_per_correct": "tokens for a right answer",
    "budget_use": "length over budget, mean",
    "budget_use_sd": "length over budget, standard deviation",
    "tokens_beyond_budget": "tokens beyond the budget, of all",
    "accuracy_beyond_budget": "right, but beyond the budget",
    "budget_area": "accuracy over the lengths of given budgets",
    "cutoff_area": "accuracy over the cut-offs",
}
"""What the table of a single evaluation has too, and the CSV of several runs."""
PRICE = {"tokens_per_correct": FURTHER["tokens_per_correct"]}
"""What every table has."""
_CUT = ("accuracy", "length")
_OF_SAMPLES = {"pass_at": "one of {k} samples right", "maj_at": "majority of {k} samples right"}

_IN_TOKENS = ("length", "budget", "b_max", "tokens_per_correct")
_AS_THEY_ARE = ("budget_level_rho", "length_budget_rho", "length_budget_slope", "budget_use", "budget_use_sd")
_BY_LEVEL = ("accuracy", "length", "budget")

ABSENT = "-"


def quantity(metric: str, estimate: Estimate | None) -> str:
    """An estimate as a reader wants it: shares in percent, tokens to a tenth, correlations to a hundredth.

    >>> quantity("accuracy", Estimate(0.9613, 0.0061)), quantity("length", Estimate(38.04, 0.42))
    ('96.1 ± 0.6 %', '38.0 ± 0.4')
    >>> quantity("accuracy", Estimate(1.0, 0.0))  # an error of 0 is no certainty
    '100.0 %'
    >>> quantity("budget_level_rho", Estimate(0.887)), quantity("budget", None)
    ('0.89', '-')
    """
    if estimate is None:
        return ABSENT
    scale, digits, unit = _style(metric)
    value = f"{scale * estimate.value:.{digits}f}"
    error = "" if estimate.stated is None else f" ± {scale * estimate.stated:.{digits}f}"
    return f"{value}{error}{unit}"


def change(metric: str, estimate: Estimate | None) -> str:
    """A difference, with its sign; of shares in percentage points.

    >>> change("accuracy", Estimate(0.001, 0.006)), change("length", Estimate(-102.5))
    ('+0.1 ± 0.6 points', '-102.5')
    """
    if estimate is None:
        return ABSENT
    scale, digits, unit = _style(metric)
    value = f"{scale * estimate.value:+.{digits}f}"
    error = "" if estimate.stated is None else f" ± {scale * estimate.stated:.{digits}f}"
    return f"{value}{error}{' points' if unit else ''}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """A table; columns after the first stand to the right if they hold numbers."""
    rule = ["---"] + ["---:" if numbers else "---"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (header, rule, *rows))


def interval(metric: str, ends: tuple[float, float] | None, sign: str = "+") -> str:
    """The ends of a difference's 95 % interval, behind the difference; empty where there is none, or all were alike.

    >>> interval("accuracy", (-0.011, 0.013)), interval("compression", (0.5, 0.6), sign="-"), interval("length", None)
    (' (-1.1 to +1.3)', ' (50.0 to 60.0)', '')
    """
    if ends is None or ends[1] - ends[0] < NOISE:
        return ""
    scale, digits, _ = _style(metric)
    low, high = (f"{scale * end:{sign}.{digits}f}" for end in ends)
    return f" ({low} to {high})"


def before_after(initial: Results, trained: Results, changes: Results) -> str:
    """One data set, one row per metric: initial model, trained model, and what the difference is."""
    rows = [
        [
            name,
            quantity(key, initial.get(key)),
            quantity(key, trained.get(key)),
            _difference(key, initial, trained, changes),
        ]
        for key, name in {**NAMES, **PRICE, **of_samples([initial, trained])}.items()
        if initial.get(key) or trained.get(key)
    ]
    return markdown(["", "initial", "trained", "change (95 % interval)"], rows)


def evaluation(by_name: Mapping[str, Results]) -> str:
    """One column per data set (or run), one row per metric."""
    rows = [
        [name, *(quantity(key, results.get(key)) for results in by_name.values())]
        for key, name in {**NAMES, **FURTHER, **of_samples(by_name.values())}.items()
        if any(results.get(key) for results in by_name.values())
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
    return markdown(["cut off at, tokens", *(NAMES[metric] for metric in _CUT)], rows)


def by_level(models: Mapping[str, Results]) -> str:
    """One row per level; for each metric a column per model that has it."""
    columns = [
        (f"{NAMES[metric]}: {model}" if model else NAMES[metric], metric, results)
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


def of_samples(all_results: Iterable[Results]) -> dict[str, str]:
    """Names of pass@k and maj@k, for the largest k only."""
    most = max((results.samples() for results in all_results), default=1)
    return {f"{key}_{most}": name.format(k=most) for key, name in _OF_SAMPLES.items() if most > 1}


def _style(metric: str) -> tuple[float, int, str]:
    """Factor, decimals and unit."""
    if metric in _IN_TOKENS:
        return 1, 1, ""
    return (1, 2, "") if metric in _AS_THEY_ARE else (100, 1, " %")


def _cell(text: str) -> str:
    """Text that does not break a table apart."""
    return text.replace("|", "\\|").replace("\n", " ")
