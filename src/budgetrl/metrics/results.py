"""Estimates by key: the results of an evaluation, as stages write them and reports read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from budgetrl.metrics.estimates import Estimate
from budgetrl.metrics.keys import Aspect, Key, PartKind, parse


@dataclass(frozen=True)
class Results:
    """Estimates by key.

    `flat` converts them to the flat form of result.json and metrics.jsonl, `parse` converts them back.

    >>> results = Results.parse({"mini/accuracy": 0.9, "mini/accuracy_se": 0.01, "mini/level_2/accuracy": 1.0})
    >>> results.of("mini").get("accuracy")
    Estimate(value=0.9, error=0.01, interval=None)
    """

    estimates: Mapping[Key, Estimate] = field(default_factory=dict)

    @staticmethod
    def parse(numbers: Mapping[str, float | None]) -> "Results":
        """Parse results with flat keys. Keys without a value are dropped."""
        # First collect the aspects of each key, since value, error and interval ends may come in any order.
        aspects: dict[Key, dict[Aspect, float]] = {}
        for text, number in numbers.items():
            if number is not None:
                key, aspect = parse(text)
                aspects.setdefault(key, {})[aspect] = number
        estimates: dict[Key, Estimate] = {}
        for key, found in aspects.items():
            if Aspect.VALUE in found:  # an error without its value is meaningless
                estimates[key] = _estimate(found)
        return Results(estimates)

    @staticmethod
    def from_values(values: Mapping[str, float]) -> "Results":
        """Return results from plain values by metric name, without errors."""
        return Results({Key(metric): Estimate(value) for metric, value in values.items()})

    def flat(self) -> dict[str, float]:
        """Return the numbers by flat key: values and, where known, standard errors and ends of intervals."""
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
        """Return the estimate for a key or for a metric name; None if there is none."""
        return self.estimates.get(Key(key) if isinstance(key, str) else key)

    def of(self, dataset: str, evaluation: str = "") -> "Results":
        """Return the results of one data set in one evaluation, with those two removed from the keys."""
        estimates: dict[Key, Estimate] = {}
        for key, estimate in self.estimates.items():
            if key.dataset == dataset and key.evaluation == evaluation:
                estimates[replace(key, dataset="", evaluation="")] = estimate
        return Results(estimates)

    def labeled(self, dataset: str | None = None, evaluation: str | None = None) -> "Results":
        """Return the same results with the data set, the evaluation or both set in every key. None: unchanged."""
        estimates: dict[Key, Estimate] = {}
        for key, estimate in self.estimates.items():
            new_dataset = key.dataset if dataset is None else dataset
            new_evaluation = key.evaluation if evaluation is None else evaluation
            estimates[replace(key, dataset=new_dataset, evaluation=new_evaluation)] = estimate
        return Results(estimates)

    def without_parts(self) -> "Results":
        """Return the results for whole data sets, without those for parts such as levels."""
        return Results({key: estimate for key, estimate in self.estimates.items() if key.part is None})

    def datasets(self, evaluation: str = "") -> list[str]:
        """Return the names of the data sets in an evaluation, in order."""
        names: dict[str, None] = {}  # an ordered set
        for key in self.estimates:
            # Every evaluation has an accuracy, so this finds each data set once or more.
            if key.evaluation == evaluation and key.dataset and key.metric == "accuracy":
                names[key.dataset] = None
        return list(names)

    def part_numbers(self, kind: PartKind) -> list[int]:
        """Return the levels, budgets or cutoffs that have results, in ascending order."""
        numbers: set[int] = set()
        for key in self.estimates:
            if key.part is not None and key.part.kind == kind:
                numbers.add(key.part.number)
        return sorted(numbers)

    def largest_k(self) -> int:
        """Return the largest k with a pass@k; 1 if there is none."""
        largest = 1
        for key in self.estimates:
            if key.metric == "pass_at" and key.k:
                largest = max(largest, key.k)
        return largest


def _estimate(aspects: Mapping[Aspect, float]) -> Estimate:
    interval = None
    if Aspect.LOW in aspects and Aspect.HIGH in aspects:
        interval = aspects[Aspect.LOW], aspects[Aspect.HIGH]
    return Estimate(aspects[Aspect.VALUE], aspects.get(Aspect.ERROR), interval)
