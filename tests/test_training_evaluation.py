"""Evaluations on the way through GRPO: by which reward, what is remembered, and which policy is kept."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from budgetrl.core.records import Completion, Outcome, Problem
from budgetrl.formats.plain import PlainFormat
from budgetrl.grading.verifier import Verdict
from budgetrl.policy.codec import ParsedResponse, Prompt
from budgetrl.rewards.dast import Dast
from budgetrl.rewards.kimi import Kimi
from budgetrl.rewards.reward import Controller, Reward
from budgetrl.rewards.thinkprune import ThinkPrune
from budgetrl.rollout.collect import Sample
from budgetrl.runs.world import SingleProcess
from budgetrl.training.evaluation import Evaluation, GrpoState

PROBLEMS = [Problem(str(n), "2 3 ?", "5") for n in range(4)]


class Listener(Controller):
    """Remembers what it was told."""

    def validate(self, groups: Sequence[Sequence[Outcome]]) -> None:
        self.told = [[outcome.length for outcome in group] for group in groups]


def answer(problem: Problem, length: int, correct: bool = True) -> Sample:
    """An answer, `length` tokens long."""
    completion, response = (
        Completion((5,), (-1.0,), "stop"),
        ParsedResponse("5", PlainFormat().parse("5"), 1, None, (5,)),
    )
    outcome = Outcome(well_formed=True, correct=correct, length=length, problem_id=problem.id)
    return Sample(problem, Prompt((1,)), completion, response, Verdict(correct, parsed=True, timed_out=False), outcome)


STEPWISE = ThinkPrune(limits=(100, 50))


def examined(
    lengths: Sequence[int], reward: Reward = STEPWISE, solved: Sequence[int] = ()
) -> tuple[GrpoState, list[float], list[str]]:
    """An evaluation at each of the lengths: the state in the end, the rewards, and what was kept when.

    `solved` says how many of the problems each evaluation solves; all of them by default.
    """
    now: dict[str, int] = {}
    kept: list[str] = []

    def collect(problems: Sequence[Problem], *_: object) -> list[list[Sample]]:
        return [[answer(problem, now["length"], n < now["solved"])] for n, problem in enumerate(problems)]

    def save(name: str) -> None:
        kept.append(f"{name} at {now['length']}")

    ctx: Any = SimpleNamespace(world=SingleProcess())
    synced: list[int] = []
    rollout = SimpleNamespace(sync=synced.append)
    collector: Any = SimpleNamespace(engine=rollout, fmt=PlainFormat(), collect=collect)
    learner: Any = SimpleNamespace(engine=SimpleNamespace(gathered_weights=nullcontext), save=save)
    config: Any = SimpleNamespace(dataset=SimpleNamespace(name="mini"), seed=0)
    state = GrpoState(Listener(reward))
    evaluate = Evaluation(PROBLEMS, collector, learner, reward, state, config, ctx)
    rewards = []
    for step, length in enumerate(lengths, start=1):
        now.update(length=length, solved=solved[step - 1] if solved else len(PROBLEMS))
        rewards.append(evaluate(step)["eval/mini/reward"])
    assert synced == list(range(1, len(lengths) + 1))
    return state, rewards, kept


def test_the_reward_is_that_of_the_end_of_training() -> None:
    _, rewards, _ = examined([80, 40])
    assert rewards == [0.0, 1.0]  # the last limit, 50, and not the first, 100


def test_the_best_policy_is_the_first_of_the_highest_reward() -> None:
    state, _, kept = examined([80, 40, 30, 90])
    assert kept == ["best at 80", "best at 40"]
    assert state.best == (1.0,)
    assert state.result["mini/reward"] == 0.0 and state.result["mini/length"] == 90


def test_the_rewards_controller_learns_from_the_newest() -> None:
    state, _, _ = examined([80, 40])
    assert isinstance(state.controller, Listener) and state.controller.told == [[40]] * len(PROBLEMS)


def test_a_standing_is_taken_back_as_it_was() -> None:
    state, _, _ = examined([40])
    other = GrpoState(Listener(ThinkPrune()))
    other.load_state_dict(state.state_dict())
    assert (other.best, other.result) == (state.best, state.result)
    fresh = GrpoState(Listener(ThinkPrune()))
    fresh.load_state_dict(GrpoState(Listener(ThinkPrune())).state_dict())
    assert fresh.best == () and fresh.result == {}


def test_a_reward_that_compares_lengths_within_the_group_keeps_the_most_accurate_policy_and_then_the_shortest() -> None:
    """Alone in its group, a right answer earns the same at every length."""
    state, rewards, kept = examined([80, 40, 90, 20, 30], Kimi(), solved=[3, 3, 4, 3, 4])
    assert rewards == [0.75, 0.75, 1.0, 0.75, 1.0]
    assert kept == ["best at 80", "best at 40", "best at 90", "best at 30"]
    assert state.best == (1.0, -30.0)


def test_longer_wrong_answers_do_not_make_a_policy_better() -> None:
    """DAST gives longer wrong answers more, up to the problem's budget."""
    _, rewards, kept = examined([80, 400], Dast(), solved=[1, 1])
    assert rewards[0] < rewards[1]
    assert kept == ["best at 80"]
