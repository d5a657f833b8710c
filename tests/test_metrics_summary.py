"""The metrics, against numbers worked out by hand, and their standard errors, against simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from budgetrl.core.records import Outcome
from budgetrl.metrics import summary as typed


def summarize(groups: list[list[Outcome]]) -> dict[str, float]:
    return typed.summarize(groups).flat()


def compare(initial: list[list[Outcome]], trained: list[list[Outcome]]) -> dict[str, float]:
    return typed.compare(initial, trained).flat()


def batch_metrics(outcomes: list[Outcome]) -> dict[str, float]:
    return typed.batch_metrics(outcomes).flat()


def response(length: int, budget: int | None = None, correct: bool = True, **rest: object) -> Outcome:
    return Outcome(True, correct, length, budget, **rest)  # pyright: ignore[reportArgumentType]


MALFORMED = Outcome(well_formed=False, correct=False, length=400, budget=400, truncated=True)

# Two problems, four responses; the malformed one has a budget that does not count.
GROUPS = [
    [response(100, 100, level=1), response(140, 100, correct=False, level=1)],
    [response(250, 200, level=2), replace(MALFORMED, level=2)],
]


def test_shares_and_means() -> None:
    summary = summarize(GROUPS)
    assert summary["accuracy"] == 0.5
    assert summary["format"] == 0.75
    assert summary["length"] == (100 + 140 + 250 + 400) / 4
    assert summary["budget"] == pytest.approx((100 + 100 + 200) / 3)
    assert summary["truncated"] == 0.25
    assert [summary[f"match_{percent}"] for percent in (50, 25, 10)] == [0.75, 0.5, 0.25]


def test_errors_come_from_the_problems() -> None:
    summary = summarize(GROUPS)
    assert summary["accuracy_se"] == 0.0  # both problems at 0.5: their samples differ, they do not
    assert summary["format_se"] == pytest.approx(np.std([1.0, 0.5], ddof=1) / math.sqrt(2))
    assert summary["length_se"] == pytest.approx(np.std([120, 325], ddof=1) / math.sqrt(2))
    # A ratio: 400 tokens over 3 responses; residuals 200 - 2 * 400/3 and 200 - 400/3, 3 responses in all.
    assert summary["budget_se"] == pytest.approx(math.sqrt(2 * ((200 / 3) ** 2 + (200 / 3) ** 2)) / 3)


def test_levels() -> None:
    summary = summarize(GROUPS)
    assert summary["level_1/accuracy"] == 0.5
    assert summary["level_2/length"] == 325
    assert summary["level_2/budget"] == 200
    assert "level_1/accuracy_se" not in summary  # one problem has no spread
    assert summarize(GROUPS * 2)["level_1/accuracy_se"] == 0.0


@pytest.mark.parametrize(
    ("length", "budget", "matches"),
    [
        (150, 100, (1, 0, 0)),
        (50, 100, (1, 0, 0)),
        (151, 100, (0, 0, 0)),
        (125, 100, (1, 1, 0)),
        (74, 100, (1, 0, 0)),
        (110, 100, (1, 1, 1)),
        (33, 30, (1, 1, 1)),
        (77, 70, (1, 1, 1)),
        (78, 70, (1, 1, 0)),
    ],
)
def test_a_match_includes_the_edge(length: int, budget: int, matches: tuple[int, int, int]) -> None:
    metrics = batch_metrics([response(length, budget)])
    assert (metrics["match_50"], metrics["match_25"], metrics["match_10"]) == matches


def test_what_has_no_value_is_left_out() -> None:
    summary = summarize([[response(90), response(70)], [replace(MALFORMED, budget=None)]])
    assert set(summary) == {
        f"{key}{end}"
        for key in ("accuracy", "format", "length", "truncated", "tokens_per_correct")
        for end in ("", "_se")
    }


def test_a_lost_format_counts_as_no_match() -> None:
    metrics = batch_metrics([MALFORMED, replace(MALFORMED, budget=None)])
    assert batch_metrics([replace(MALFORMED, budget=None)])["match_50"] == 0.0
    assert metrics["match_50"] == 0.0
    assert "budget" not in metrics


def test_thinking_length_is_over_those_that_think() -> None:
    groups = [[response(90, thinking_length=60), response(50)], [response(70, thinking_length=30)]]
    assert summarize(groups)["thinking_length"] == 45
    assert batch_metrics([outcome for group in groups for outcome in group])["thinking_length"] == 45


def test_one_problem_has_no_errors() -> None:
    summary = summarize([[response(10, 10, level=1), response(20, 30, level=1)]])
    assert summary["length"] == 15
    assert summary["length_budget_rho"] == pytest.approx(1.0)
    assert not [key for key in summary if key.endswith("_se")]


def test_an_error_needs_two_problems_that_count() -> None:
    summary = summarize([[response(10, 20)], [MALFORMED], [MALFORMED]])
    assert summary["budget"] == 20
    assert "budget_se" not in summary
    assert "length_se" in summary


def test_no_responses_are_an_error() -> None:
    for empty in ([], [[]]):
        with pytest.raises(ValueError, match="no responses"):
            summarize(empty)
    with pytest.raises(ValueError, match="no responses"):
        batch_metrics([])


def test_rank_correlations_are_over_well_formed_responses() -> None:
    rows = [(20, 25, 1), (30, 25, 1), (41, 40, 2), (90, 70, 3), (60, 80, 4)]
    groups = [[response(length, budget, level=level), replace(MALFORMED, level=9)] for length, budget, level in rows]
    summary = summarize(groups)
    lengths, budgets, levels = zip(*rows, strict=True)
    assert summary["budget_level_rho"] == pytest.approx(spearmanr(budgets, levels)[0])
    assert summary["length_budget_rho"] == pytest.approx(spearmanr(lengths, budgets)[0])
    assert summary["budget_level_rho_se"] == 0.0  # in order in every redraw
    assert summary["length_budget_rho_se"] > 0


def test_rank_correlation_with_a_constant_is_left_out() -> None:
    metrics = batch_metrics([response(10, 50, level=1), response(20, 50, level=2)])
    assert "budget_level_rho" not in metrics
    assert "length_budget_rho" not in metrics


def simulate(generator: np.random.Generator, problems: int = 40, samples: int = 4) -> list[list[Outcome]]:
    """Problems of different difficulty: the samples of one resemble each other."""
    groups = []
    for level in generator.integers(1, 6, size=problems):
        scale, skill = generator.lognormal(0, 0.3), generator.beta(2, 1)
        budgets = np.ceil(40 * level * scale * generator.lognormal(0, 0.4, size=samples)).astype(int)
        lengths = np.ceil(budgets * generator.lognormal(0, 0.2, size=samples)).astype(int)
        formed, correct = generator.random((2, samples)) < [[0.8], [skill]]
        rows = zip(formed, correct, lengths, budgets, strict=True)
        groups.append([Outcome(bool(f), bool(c), int(length), int(b), level=int(level)) for f, c, length, b in rows])
    return groups


def test_errors_agree_with_the_spread_over_repeated_evaluations() -> None:
    generator = np.random.default_rng(7)
    keys = ("accuracy", "length", "budget", "match_25", "budget_level_rho", "length_budget_rho")
    summaries = [summarize(simulate(generator)) for _ in range(60)]
    for key in keys:
        spread = np.std([summary[key] for summary in summaries], ddof=1)
        stated = np.mean([summary[f"{key}_se"] for summary in summaries])
        assert stated == pytest.approx(spread, rel=0.3), key  # 60 repeats know the spread to 9 %


def test_copies_of_a_sample_add_nothing_to_what_is_known() -> None:
    groups = simulate(np.random.default_rng(3), samples=1)
    once, often = summarize(groups), summarize([group * 5 for group in groups])
    for key in ("accuracy_se", "length_se", "budget_se", "match_50_se"):
        assert often[key] == pytest.approx(once[key]), key


def test_errors_are_the_same_on_every_call() -> None:
    groups = simulate(np.random.default_rng(5), problems=10)
    assert summarize(groups) == summarize(groups)


EVALUATION_ONLY = (
    "pass_at_",
    "maj_at_",
    "tokens_",
    "budget_use",
    "length_budget_slope",
    "accuracy_beyond_budget",
)

outcomes = st.builds(
    Outcome,
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**6),
    st.none() | st.integers(1, 10**6),
    level=st.none() | st.integers(1, 3),
    truncated=st.booleans(),
)


@settings(max_examples=40)
@given(st.lists(st.lists(outcomes, max_size=4), min_size=1, max_size=6).filter(any))
def test_metrics_are_finite_and_shares_are_shares(groups: list[list[Outcome]]) -> None:
    summary = summarize(groups)
    assert all(math.isfinite(value) for value in summary.values())
    assert all(value >= 0 for key, value in summary.items() if key.endswith("_se"))
    for key in ("accuracy", "format", "truncated"):
        assert 0 <= summary[key] <= 1
    if "match_10" in summary:
        assert summary["match_10"] <= summary["match_25"] <= summary["match_50"] <= summary["format"]


@settings(max_examples=40)
@given(st.lists(st.lists(outcomes, max_size=4), min_size=1, max_size=6).filter(any))
def test_the_training_log_agrees_with_the_evaluation(groups: list[list[Outcome]]) -> None:
    summary, batch = summarize(groups), batch_metrics([outcome for group in groups for outcome in group])
    assert {key: value for key, value in summary.items() if key in batch} == pytest.approx(batch)
    more = {key for key in set(summary) - set(batch) if not key.startswith("level_") and not key.endswith("_se")}
    assert all(key.startswith(EVALUATION_ONLY) for key in more)


def named(lengths_PG: list[list[int]], correct_PG: list[list[bool]]) -> list[list[Outcome]]:
    return [
        [Outcome(True, c, length, problem_id=f"p{index}") for length, c in zip(lengths, verdicts, strict=True)]
        for index, (lengths, verdicts) in enumerate(zip(lengths_PG, correct_PG, strict=True))
    ]


def test_change_by_hand() -> None:
    initial = named([[100, 300], [200, 200], [600, 600]], [[True, False], [True, True], [False, False]])
    trained = named([[50], [40], [60]], [[True], [True], [False]])
    change = compare(initial, trained)
    assert change["compression"] == pytest.approx(1 - 50 / (2000 / 6))
    assert change["accuracy_change"] == pytest.approx(2 / 3 - 1 / 2)
    # Per problem 0.5, 0, 0.
    assert change["accuracy_change_se"] == pytest.approx(np.std([0.5, 0, 0], ddof=1) / math.sqrt(3))
    # Delta method on paired means x (initial) and y (trained): sd(y - kept x) / (mean x sqrt(P)).
    x, y = np.array([200, 200, 600]), np.array([50, 40, 60])
    residual = np.std(y - 0.15 * x, ddof=1)
    assert change["compression_se"] == pytest.approx(residual / (x.mean() * math.sqrt(3)))


def test_the_same_change_everywhere_is_certain() -> None:
    initial = named([[100], [300], [700]], [[True], [False], [True]])
    trained = named([[40], [120], [280]], [[True], [False], [True]])
    change = compare(initial, trained)
    assert change["compression"] == pytest.approx(0.6)
    assert change["compression_se"] == pytest.approx(0.0, abs=1e-12)
    assert (change["accuracy_change"], change["accuracy_change_se"]) == (0.0, 0.0)


def test_errors_of_a_change_agree_with_the_spread_over_repeats() -> None:
    generator = np.random.default_rng(11)
    changes = []
    for _ in range(150):
        scale = generator.lognormal(5, 0.5, size=(40, 1))
        lengths = generator.poisson(scale * generator.lognormal(0, 0.3, size=(40, 3)))
        shorter = generator.poisson(0.4 * scale * generator.lognormal(0, 0.2, size=(40, 2)))
        skill = generator.random((40, 1))
        verdicts = [generator.random((40, count)) < skill for count in (3, 2)]
        changes.append(
            compare(named(lengths.tolist(), verdicts[0].tolist()), named(shorter.tolist(), verdicts[1].tolist()))
        )
    for key in ("compression", "accuracy_change"):
        spread = np.std([change[key] for change in changes], ddof=1)
        assert np.mean([change[f"{key}_se"] for change in changes]) == pytest.approx(spread, rel=0.2), key


def test_nothing_can_be_shorter_than_nothing() -> None:
    change = compare(named([[0], [0]], [[True], [True]]), named([[5], [5]], [[True], [True]]))
    assert "compression" not in change
    assert change["accuracy_change"] == 0.0


def test_only_the_same_problems_can_be_compared() -> None:
    one, two = named([[1]], [[True]]), named([[1], [2]], [[True], [True]])
    with pytest.raises(ValueError, match="2 problems before with 1 after"):
        compare(two, one)
    with pytest.raises(ValueError, match="'p0', 'p1'"):
        compare(two, two[::-1])
    with pytest.raises(ValueError, match="with responses before and after"):
        compare(two, [two[0], []])
