"""Evaluations on the way through GRPO: by which reward, what is remembered, and which policy is kept."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from budgetrl.core.records import Completion, Outcome, Problem
from budgetrl.formats.plain import PlainFormat
from budgetrl.grading.verifier import Verdict
from budgetrl.policy.codec import Prompt, Reading
from budgetrl.rewards.reward import Controller
from budgetrl.rewards.thinkprune import ThinkPrune
from budgetrl.rollout.collect import Sample
from budgetrl.runs.world import SingleProcess
from budgetrl.training.evaluation import Evaluation, Standing

PROBLEMS = [Problem(str(n), "2 3 ?", "5") for n in range(4)]


class Listener(Controller):
    """Remembers what it was told."""

    def validate(self, groups: Sequence[Sequence[Outcome]]) -> None:
        self.told = [[outcome.length for outcome in group] for group in groups]


def right(problem: Problem, length: int) -> Sample:
    """A right answer, `length` tokens long."""
    completion, reading = Completion((5,), (-1.0,), "stop"), Reading("5", PlainFormat().parse("5"), 1, None, (5,))
    outcome = Outcome(well_formed=True, correct=True, length=length, problem_id=problem.id)
    return Sample(problem, Prompt((1,)), completion, reading, Verdict(True, parsed=True, timed_out=False), outcome)


def examined(lengths: Sequence[int]) -> tuple[Standing, list[float], list[str]]:
    """An evaluation at each of the lengths: the standing in the end, the rewards, and what was kept when."""
    reward = ThinkPrune(limits=(100, 50))
    now: dict[str, int] = {}
    kept: list[str] = []

    def collect(problems: Sequence[Problem], *_: object) -> list[list[Sample]]:
        return [[right(problem, now["length"])] for problem in problems]

    def keep(name: str) -> None:
        kept.append(f"{name} at {now['length']}")

    ctx: Any = SimpleNamespace(world=SingleProcess())
    synced: list[int] = []
    rollout = SimpleNamespace(sync=synced.append)
    collector: Any = SimpleNamespace(engine=rollout, fmt=PlainFormat(), collect=collect)
    learner: Any = SimpleNamespace(engine=SimpleNamespace(whole_weights=nullcontext), keep=keep)
    config: Any = SimpleNamespace(dataset=SimpleNamespace(name="mini"), seed=0)
    standing = Standing(Listener(reward))
    evaluate = Evaluation(PROBLEMS, collector, learner, reward, standing, config, ctx)
    rewards = []
    for step, length in enumerate(lengths, start=1):
        now["length"] = length
        rewards.append(evaluate(step)["eval/mini/reward"])
    assert synced == list(range(1, len(lengths) + 1))
    return standing, rewards, kept


def test_the_reward_is_that_of_the_end_of_training() -> None:
    _, rewards, _ = examined([80, 40])
    assert rewards == [0.0, 1.0]  # the last limit, 50, and not the first, 100


def test_the_best_policy_is_the_first_of_the_highest_reward() -> None:
    standing, _, kept = examined([80, 40, 30, 90])
    assert kept == ["best at 80", "best at 40"]
    assert standing.best == 1.0
    assert standing.result["mini/reward"] == 0.0 and standing.result["mini/length"] == 90


def test_the_rewards_controller_learns_from_the_newest() -> None:
    standing, _, _ = examined([80, 40])
    assert isinstance(standing.controller, Listener) and standing.controller.told == [[40]] * len(PROBLEMS)


def test_a_standing_is_taken_back_as_it_was() -> None:
    standing, _, _ = examined([40])
    other = Standing(Listener(ThinkPrune()))
    other.load_state_dict(standing.state_dict())
    assert (other.best, other.result) == (standing.best, standing.result)
    fresh = Standing(Listener(ThinkPrune()))
    fresh.load_state_dict(Standing(Listener(ThinkPrune())).state_dict())
    assert fresh.best == pytest.approx(-float("inf")) and fresh.result == {}
