"""Dynamic sampling, on numbers in place of completions: a group's rewards are the group itself. And who is right."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from budgetrl.core.records import Completion, Outcome, Problem
from budgetrl.formats.plain import PlainFormat
from budgetrl.grading.verifier import Verdict
from budgetrl.policy.codec import Prompt, Reading
from budgetrl.rewards.kimi import Kimi
from budgetrl.rewards.lead import Lead
from budgetrl.rollout.collect import Sample
from budgetrl.settings.algorithm import Algorithm
from budgetrl.training.advantages import difficulty_weight
from budgetrl.training.distributed import World
from budgetrl.training.rollouts import Rollout
from budgetrl.training.writing import Writer, Written, informative_groups

Group = list[float]
SPLIT, SOLVED, FAILED = [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]


def fill(attempts: list[list[Group]], count: int) -> tuple[list[Group], dict[str, float], list[int]]:
    """With what each attempt would write, if it were asked for all of it; and what was asked for."""
    asked: list[int] = []

    def write(attempt: int, missing: int) -> list[Group]:
        asked.append(missing)
        return attempts[attempt][:missing]

    written = informative_groups(write, lambda group: group, count, len(attempts))  # pyright: ignore
    made_up = written.effort.pop("groups_made_up")
    assert written.informative == count - made_up
    assert all(max(group) > min(group) for group in written.samples_PG[: written.informative])  # pyright: ignore
    return written.samples_PG, written.effort, asked  # pyright: ignore[reportReturnType]


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
    reading = Reading("5", fmt.parse("5"), 1, None, (5,))
    outcome = Outcome(well_formed=finished, correct=correct, length=length, truncated=not finished)
    return Sample(Problem("p", "2 3 ?", "5"), Prompt((1,)), completion, reading, verdict, outcome)


@pytest.mark.parametrize(("by", "rollouts"), [("none", None), ("reward", 1), ("verdict", 3)])
def test_groups_that_are_all_right_at_different_lengths_are_equal_by_verdict_alone(by: str, rollouts: int) -> None:
    """Kimi's reward tells the lengths of right answers apart."""

    def collect(problems: list[Problem], seeds: list[list[int]], asked: list[None]) -> list[list[Sample]]:
        assert len(problems) == len(seeds) == len(asked)
        return [[graded(True, length=10), graded(True, length=20)] for _ in problems]

    algorithm = Algorithm(drop_equal_groups=by, max_rollouts=3)
    write = writer(collect, algorithm, problems=5)
    written, shape = write(0, Kimi(), 1.0), Kimi()
    assert len(written.samples_PG) == 2
    assert written.effort.get("rollouts") == rollouts
    assert written.effort.get("groups_dropped", 0) == (4 if by == "verdict" else 0)
    rollout = Rollout.of(written, shape.controller(), 1.0, algorithm, write.collector)
    assert any(e.advantage for e in rollout.experience) == (by != "verdict")  # what only fills teaches nothing
    assert rollout.metrics["groups_equal"] == 0


def test_further_attempts_ask_other_problems_with_other_seeds() -> None:
    asked: list[tuple[str, int]] = []

    def collect(problems: list[Problem], seeds: list[list[int]], _: list[None]) -> list[list[Sample]]:
        asked.extend((p.id, seed) for p, group in zip(problems, seeds, strict=True) for seed in group)
        return [[graded(True), graded(True)] for _ in problems]

    writer(collect, Algorithm(drop_equal_groups="verdict", max_rollouts=3), problems=100)(0, Kimi(), 0.0)
    first, *later = ({asked[i] for i in range(n, n + 4)} for n in range(0, len(asked), 4))
    assert len(asked) == 12 and len({seed for _, seed in asked}) == 12
    assert not {name for name, _ in first} & {name for others in later for name, _ in others}


def test_a_further_attempt_at_the_same_problems_has_other_seeds() -> None:
    """A pool of one problem: place and attempt alone tell the completions apart."""
    asked: list[int] = []

    def collect(problems: list[Problem], seeds: list[list[int]], _: list[None]) -> list[list[Sample]]:
        asked.extend(seed for group in seeds for seed in group)
        return [[graded(True), graded(True)] for _ in problems]

    writer(collect, Algorithm(drop_equal_groups="verdict", max_rollouts=3), problems=1)(0, Kimi(), 0.0)
    assert len(asked) == len({*asked}) == 12


def writer(collect: Callable, algorithm: Algorithm, problems: int) -> Writer:
    """One that writes two prompts a step, two completions each."""
    return Writer(
        pool=[Problem(str(n), "2 3 ?", "5") for n in range(problems)],
        collector=SimpleNamespace(fmt=PlainFormat(), collect=collect),  # pyright: ignore[reportArgumentType]
        how=SimpleNamespace(steps=1, prompts_per_step=2, group_size=2),  # pyright: ignore[reportArgumentType]
        job=SimpleNamespace(algorithm=algorithm, seed=0),  # pyright: ignore[reportArgumentType]
        ctx=SimpleNamespace(world=World(0, 1, torch.device("cpu"))),  # pyright: ignore[reportArgumentType]
    )


def test_difficulty_is_weighed_by_what_the_reward_calls_right() -> None:
    """Of four answers that are correct one ended: a hard problem, on which success is worth more."""
    group = [graded(True), *[graded(True, finished=False)] * 3]
    algorithm = Algorithm(advantage_scale="none", difficulty_weighting=True)
    collector = SimpleNamespace(fmt=PlainFormat())
    rollout = Rollout.of(Written([group], 1, {}), Lead().controller(), 0.0, algorithm, collector)  # pyright: ignore[reportArgumentType]
    up, down = difficulty_weight(1 / 4), difficulty_weight(3 / 4)
    assert [e.advantage for e in rollout.experience] == pytest.approx([1.5 * up, *[-0.5 * down] * 3])
