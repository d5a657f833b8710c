"""Evaluations during GRPO: what they say of the policy in training, and which policy was the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from budgetrl.core.records import Outcome, Problem
from budgetrl.metrics.keys import DURING_TRAINING, REWARD
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import summarize
from budgetrl.rewards.reward import Controller, Reward
from budgetrl.rollout.collect import Collector, collect_on_all_ranks
from budgetrl.rollout.seeds import asked_budgets, sampling_seeds
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.training.checkpoints import BEST
from budgetrl.training.learner import Learner


@dataclass
class GrpoState:
    """What a GRPO run knows besides its engine's weights: saved with each state, and taken back."""

    controller: Controller
    """Has the reward as it stands."""
    result: dict[str, float] = field(default_factory=dict)
    """The newest evaluation, under `<data set>/`."""
    best: float = -math.inf
    """The highest reward of an evaluation yet."""

    def state_dict(self) -> dict[str, Any]:
        """As plain values. Without an evaluation there is nothing of one: JSON has no infinity."""
        examined = {"result": self.result, "best": self.best} if self.result else {}
        return {"reward": self.controller.state_dict(), **examined}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.controller.load_state_dict(state["reward"])
        self.result, self.best = state.get("result", {}), state.get("best", -math.inf)


@dataclass(frozen=True)
class Evaluation:
    """Measures the policy in training on held-out problems, and keeps the best.

    The reward it goes by is that of the end of training, as configured, so that evaluations compare whatever alpha
    was then and whatever the reward remembers. The reward's controller learns from what was measured.
    """

    problems: Sequence[Problem]
    collector: Collector
    learner: Learner
    reward: Reward
    state: GrpoState
    config: Config
    ctx: Context

    def __call__(self, step: int) -> dict[str, float]:
        """Evaluate the policy after so many steps; returns metrics under `eval/<data set>/`.

        The result goes into `state`, and the policy into `checkpoints/best` if its reward is the highest yet.
        """
        outcomes = self._outcomes(step)
        rewards: list[float] = []
        for group in outcomes:
            rewards += self.reward(group, 1.0)
        reward = fmean(rewards)
        result = summarize(outcomes) | Results.from_values({REWARD: reward})
        name, state = self.config.dataset.name, self.state
        state.controller.validate(outcomes)
        state.result = result.labeled(name).flat()
        if reward > state.best:
            state.best = reward
            self.learner.save(BEST)
        return result.without_parts().labeled(name, DURING_TRAINING).flat()

    def _outcomes(self, step: int) -> list[list[Outcome]]:
        seeds = sampling_seeds(self.config, "examine", self.problems, 1)
        asked = asked_budgets(self.config, self.collector.fmt, "examine", self.problems)
        with self.learner.engine.gathered_weights():
            self.collector.engine.sync(step)
            groups = collect_on_all_ranks(self.collector, self.problems, seeds, asked, self.ctx.world)
        outcomes: list[list[Outcome]] = []
        for group in groups:
            outcomes.append([sample.outcome for sample in group])
        return outcomes
