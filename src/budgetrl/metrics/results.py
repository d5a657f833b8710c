"""Numbers by what they are of: what an evaluation comes to, and what a report reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Aspect, Key, PartKind, parse


@dataclass(frozen=True)
class Results:
    """Estimates by their keys.

    `flat` writes them as result.json and metrics.jsonl have them, `parse` reads them again.

    >>> results = Results.parse({"mini/accuracy": 0.9, "mini/accuracy_se": 0.01, "mini/level_2/accuracy": 1.0})
    >>> results.of("mini").get("accuracy")
    Estimate(value=0.9, error=0.01, interval=None)
    """

    estimates: Mapping[Key, Estimate] = field(default_factory=dict)

    @staticmethod
    def parse(numbers: Mapping[str, float | None]) -> "Results":
        """Read results from flat keys; what has no value is left out."""
        aspects: dict[Key, dict[Aspect, float]] = {}
        for text, number in numbers.items():
            if number is not None:
                key, aspect = parse(text)
                aspects.setdefault(key, {})[aspect] = number
        estimates: dict[Key, Estimate] = {}
        for key, found in aspects.items():
            if Aspect.VALUE in found:  # an error by itself says nothing
                estimates[key] = _estimate(found)
        return Results(estimates)

    @staticmethod
    def from_values(values: Mapping[str, float]) -> "Results":
        """Results from values of metrics by name, without errors."""
        return Results({Key(metric): Estimate(value) for metric, value in values.items()})

    def flat(self) -> dict[str, float]:
        """The numbers by flat keys: values, and where there are any, errors and the ends of intervals."""
        numbers: dict[str, float] = {}
        for key, estimate in self.estimates.items():
            numbers[key.flat()] = estimate.value
            if estimate.error is not None:
                numbers[key.flat(Aspect.ERROR)] = estimate.error
            if estimate.interval is not None:
                numbers[key.flat(Aspect.LOW)], numbers[key.flat(Aspect.HIGH)] = estimate.interval
        return numbers

    def __or__(self, other: "Results") -> "Results":
        return Results({**self.estimates, **other.estimates})

    def get(self, key: Key | str) -> Estimate | None:
        """The estimate of a key, or of a metric by name; None where there is none."""
        return self.estimates.get(Key(key) if isinstance(key, str) else key)

    def of(self, dataset: str, evaluation: str = "") -> "Results":
        """The numbers of one data set in one evaluation, by metric and part alone."""
        estimates: dict[Key, Estimate] = {}
        for key, estimate in self.estimates.items():
            if key.dataset == dataset and key.evaluation == evaluation:
                estimates[replace(key, dataset="", evaluation="")] = estimate
        return Results(estimates)

    def labeled(self, dataset: str | None = None, evaluation: str | None = None) -> "Results":
        """The same numbers as those of a data set, of an evaluation, or of both."""
        place = {"dataset": dataset, "evaluation": evaluation}
        given = {name: value for name, value in place.items() if value is not None}
        return Results({replace(key, **given): estimate for key, estimate in self.estimates.items()})

    def without_parts(self) -> "Results":
        """The numbers of whole data sets, those of their parts such as levels left out."""
        return Results({key: estimate for key, estimate in self.estimates.items() if key.part is None})

    def datasets(self, evaluation: str = "") -> list[str]:
        """Names of the data sets that an evaluation measured, in order."""
        names: dict[str, None] = {}  # an ordered set
        for key in self.estimates:
            # Every evaluation has an accuracy, so that this finds each data set that was measured.
            if key.evaluation == evaluation and key.dataset and key.metric == "accuracy":
                names[key.dataset] = None
        return list(names)

    def part_numbers(self, kind: PartKind) -> list[int]:
        """The levels, budgets or cut-offs with numbers of their own, ascending."""
        numbers: set[int] = set()
        for key in self.estimates:
            if key.part is not None and key.part.kind == kind:
                numbers.add(key.part.number)
        return sorted(numbers)

    def largest_k(self) -> int:
        """The most samples of a problem that pass@k is known for; 1 where it is for none."""
        return max((key.k for key in self.estimates if key.metric == "pass_at" and key.k), default=1)


def _estimate(aspects: Mapping[Aspect, float]) -> Estimate:
    interval = None
    if Aspect.LOW in aspects and Aspect.HIGH in aspects:
        interval = aspects[Aspect.LOW], aspects[Aspect.HIGH]
    return Estimate(aspects[Aspect.VALUE], aspects.get(Aspect.ERROR), interval)
