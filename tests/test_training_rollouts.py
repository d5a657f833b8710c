"""Dynamic sampling, on numbers in place of completions: a group's rewards are the group itself. And who is right."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.records import Completion, Outcome, Problem
from budgetrl.formats.plain import PlainFormat
from budgetrl.grading.verifier import Verdict
from budgetrl.policy.codec import ParsedResponse, Prompt
from budgetrl.rewards.kimi import Kimi
from budgetrl.rewards.lead import Lead
from budgetrl.rewards.reward import Parts
from budgetrl.rollout.collect import Sample
from budgetrl.runs.world import SingleProcess
from budgetrl.settings.algorithm import AdvantageSettings, Algorithm, GroupSettings
from budgetrl.training.advantages import difficulty_weight
from budgetrl.training.rollouts import rollout_advantages, rollout_metrics
from budgetrl.training.sampling import RewardedGroup, SampledGroups, Sampler, informative_groups

BY_VERDICT = Algorithm(groups=GroupSettings(drop_equal="verdict", max_rollouts=3))
Group = list[float]
SPLIT, SOLVED, FAILED = [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]


def fill(attempts: list[list[Group]], count: int) -> tuple[list[Group], dict[str, float], list[int]]:
    """With what each attempt would write, if it were asked for all of it; and what was asked for."""
    asked: list[int] = []

    def write(attempt: int, missing: int) -> list[Group]:
        asked.append(missing)
        return attempts[attempt][:missing]

    sampled = informative_groups(write, lambda group: group, count, len(attempts))  # pyright: ignore
    made_up = sampled.metrics.pop("groups_made_up")
    assert sampled.informative == count - made_up
    assert all(max(group) > min(group) for group in sampled.groups[: sampled.informative])  # pyright: ignore
    return sampled.groups, sampled.metrics, asked  # pyright: ignore[reportReturnType]


def test_a_full_batch_is_left_alone() -> None:
    groups, effort, asked = fill([[SPLIT, SPLIT], [SPLIT]], 2)
    assert groups == [SPLIT, SPLIT] and asked == [2]
    assert effort == {"rollouts": 1, "groups_dropped": 0}


def test_equal_groups_are_replaced() -> None:
    late = [0.5, 0.0]
    groups, effort, asked = fill([[SOLVED, SPLIT, FAILED], [FAILED, late], [late, SPLIT]], 3)
    assert groups == [SPLIT, late, late] and asked == [3, 2, 1]
    assert effort == {"rollouts": 3, "groups_dropped": 3}


def test_what_is_missing_in_the_end_is_made_up_of_equal_groups() -> None:
    groups, effort, asked = fill([[SOLVED, SPLIT, FAILED], [FAILED, FAILED]], 3)
    assert groups == [SPLIT, SOLVED, FAILED] and asked == [3, 2]
    assert effort == {"rollouts": 2, "groups_dropped": 2}


@given(st.lists(st.lists(st.sampled_from([SPLIT, SOLVED]), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_batch_keeps_its_size_and_no_equal_group_stands_where_another_was_written(
    attempts: list[list[Group]],
) -> None:
    groups, effort, asked = fill(attempts, 4)
    written = [group for attempt, n in zip(attempts, asked, strict=False) for group in attempt[:n]]
    assert len(groups) == 4
    assert groups.count(SPLIT) == written.count(SPLIT)
    assert effort == {"rollouts": len(asked), "groups_dropped": len(written) - 4}


def graded(correct: bool, finished: bool = True, length: int = 1) -> Sample:
    """A completion of one token; cut off, it may have the answer by then, and be wrong nevertheless."""
    fmt, verdict = PlainFormat(), Verdict(correct, parsed=True, timed_out=False)
    completion = Completion((5,), (-1.0,), "stop" if finished else "length")
    response = ParsedResponse("5", fmt.parse("5"), 1, None, (5,))
    outcome = Outcome(well_formed=finished, correct=correct, length=length, truncated=not finished)
    return Sample(Problem("p", "2 3 ?", "5"), Prompt((1,)), completion, response, verdict, outcome)


@pytest.mark.parametrize(("by", "rollouts"), [("none", None), ("reward", 1), ("verdict", 3)])
def test_groups_that_are_all_right_at_different_lengths_are_equal_by_verdict_alone(by: str, rollouts: int) -> None:
    """Kimi's reward tells the lengths of right answers apart."""

    def collect(problems: list[Problem], seeds: list[list[int]], asked: list[None]) -> list[list[Sample]]:
        assert len(problems) == len(seeds) == len(asked)
        return [[graded(True, length=10), graded(True, length=20)] for _ in problems]

    algorithm = Algorithm(groups=GroupSettings(drop_equal=by, max_rollouts=3))
    sampled = sampler(collect, algorithm, problems=5)(0, Kimi(), 1.0)
    assert len(sampled.groups) == 2
    assert sampled.metrics.get("rollouts") == rollouts
    assert sampled.metrics.get("groups_dropped", 0) == (4 if by == "verdict" else 0)
    advantages_PG = rollout_advantages(sampled, algorithm.advantage)
    assert any(map(any, advantages_PG)) == (by != "verdict")  # what only fills teaches nothing
    assert rollout_metrics(sampled)["groups_equal"] == 0


def test_completions_of_weights_from_before_an_update_are_refused() -> None:
    def collect(problems: list[Problem], *_: object) -> list[list[Sample]]:
        return [[graded(True)] for _ in problems]  # of version 0

    ask = sampler(collect, Algorithm(), problems=5)
    assert ask(0, Kimi(), 0.0).groups
    with pytest.raises(RuntimeError, match="for step 1 was generated with the weights of step 0"):
        ask(1, Kimi(), 0.0)


def test_further_attempts_ask_other_problems_with_other_seeds() -> None:
    asked: list[tuple[str, int]] = []

    def collect(problems: list[Problem], seeds: list[list[int]], _: list[None]) -> list[list[Sample]]:
        asked.extend((p.id, seed) for p, group in zip(problems, seeds, strict=True) for seed in group)
        return [[graded(True), graded(True)] for _ in problems]

    sampler(collect, BY_VERDICT, problems=100)(0, Kimi(), 0.0)
    first, *later = ({asked[i] for i in range(n, n + 4)} for n in range(0, len(asked), 4))
    assert len(asked) == 12 and len({seed for _, seed in asked}) == 12
    assert not {name for name, _ in first} & {name for others in later for name, _ in others}


def test_a_further_attempt_at_the_same_problems_has_other_seeds() -> None:
    """A pool of one problem: place and attempt alone tell the completions apart."""
    asked: list[int] = []

    def collect(problems: list[Problem], seeds: list[list[int]], _: list[None]) -> list[list[Sample]]:
        asked.extend(seed for group in seeds for seed in group)
        return [[graded(True), graded(True)] for _ in problems]

    sampler(collect, BY_VERDICT, problems=1)(0, Kimi(), 0.0)
    assert len(asked) == len({*asked}) == 12


def sampler(collect: Callable, algorithm: Algorithm, problems: int) -> Sampler:
    """One that writes two prompts a step, two completions each."""
    return Sampler(
        pool=[Problem(str(n), "2 3 ?", "5") for n in range(problems)],
        collector=SimpleNamespace(fmt=PlainFormat(), collect=collect),  # pyright: ignore[reportArgumentType]
        sizes=SimpleNamespace(steps=1, prompts_per_step=2, group_size=2),  # pyright: ignore[reportArgumentType]
        config=SimpleNamespace(algorithm=algorithm, seed=0),  # pyright: ignore[reportArgumentType]
        ctx=SimpleNamespace(world=SingleProcess()),  # pyright: ignore[reportArgumentType]
    )


def test_difficulty_is_weighed_by_what_the_reward_calls_right() -> None:
    """Of four answers that are correct one ended: a hard problem, on which success is worth more."""
    group = [graded(True), *[graded(True, finished=False)] * 3]
    sampled = SampledGroups([RewardedGroup.of(group, Lead(), 0.0)], 1, {})
    (advantages,) = rollout_advantages(sampled, AdvantageSettings(scale="none", difficulty_weighting=True))
    up, down = difficulty_weight(1 / 4), difficulty_weight(3 / 4)
    assert advantages == pytest.approx([1.5 * up, *[-0.5 * down] * 3])


class Counting(Kimi):
    """Counts how often it is asked for the parts of a group."""

    asked: ClassVar[list[int]] = []

    def parts(self, group: Sequence[Outcome], progress: float) -> Parts:
        self.asked.append(len(group))
        return super().parts(group, progress)


@pytest.mark.parametrize("by", ["none", "reward"])
def test_a_reward_is_asked_once_for_each_group(by: str) -> None:
    def collect(problems: list[Problem], *_: object) -> list[list[Sample]]:
        return [[graded(True, length=10), graded(False, length=20)] for _ in problems]

    Counting.asked.clear()
    algorithm = Algorithm(groups=GroupSettings(drop_equal=by))
    sampled = sampler(collect, algorithm, problems=5)(0, Counting(), 1.0)
    rollout_advantages(sampled, algorithm.advantage)
    rollout_metrics(sampled)
    assert Counting.asked == [2, 2]
