"""Evaluations during GRPO training, and the best policy so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from statistics import fmean
from typing import Any

from budgetrl.core.records import Outcome, Problem
from budgetrl.metrics.keys import DURING_TRAINING, REWARD
from budgetrl.metrics.results import Results
from budgetrl.metrics.summary import summarize
from budgetrl.rewards.group import is_right
from budgetrl.rewards.reward import Controller, Reward
from budgetrl.rollout.collect import Collector, collect_on_all_ranks
from budgetrl.rollout.seeds import asked_budgets, sampling_seeds
from budgetrl.runs.context import Context
from budgetrl.settings.config import Config
from budgetrl.training.checkpoints import BEST
from budgetrl.training.learner import Learner


@dataclass
class GrpoState:
    """The state of a GRPO run besides the engine's. Saved and restored with it."""

    controller: Controller
    """Holds the current reward, whose parameters may change during training."""
    result: dict[str, float] = field(default_factory=dict)
    """Metrics of the newest evaluation, with keys under `<data set>/`. Empty before the first."""
    best: tuple[float, ...] = ()
    """The highest score of any evaluation so far (see `Evaluation.score`). Empty before the first."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        state: dict[str, Any] = {"reward": self.controller.state_dict()}
        if self.result:
            state |= {"result": self.result, "best_score": list(self.best)}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state returned by `state_dict`."""
        self.controller.load_state_dict(state["reward"])
        self.result, self.best = state.get("result", {}), tuple(state.get("best_score", ()))


@dataclass(frozen=True)
class Evaluation:
    """Evaluates the policy in training on held-out problems, and saves the best one.

    It always uses the configured reward at the end of training (progress 1), so that results are comparable over the
    run even if alpha follows a schedule or the reward adapts.
    """

    problems: Sequence[Problem]
    collector: Collector
    learner: Learner
    reward: Reward
    state: GrpoState
    config: Config
    ctx: Context

    def __call__(self, step: int) -> dict[str, float]:
        """Evaluate the policy after `step` steps and return its metrics, with keys under `eval/<data set>/`.

        Updates `state` and the reward's controller. Saves the policy to `checkpoints/best` if its score is the highest
        so far.
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
        score = self.score(outcomes, reward)
        if score > state.best:
            state.best = score
            self.learner.save(BEST)
        return result.without_parts().labeled(name, DURING_TRAINING).flat()

    def score(self, outcomes: Sequence[Sequence[Outcome]], reward: float) -> tuple[float, ...]:
        """Return the numbers by which policies are compared, the most important one first. Higher is better.

        This is the mean reward, unless the reward ignores the length of a response that is alone in its group, as it is
        here. Then it is the accuracy, and the mean length where accuracies are equal.
        """
        if self.reward.scores_single_responses:
            return (reward,)
        every = list(chain.from_iterable(outcomes))
        accuracy = fmean(map(is_right, every))
        return (accuracy, -fmean(outcome.length for outcome in every))

    def _outcomes(self, step: int) -> list[list[Outcome]]:
        """Generate and grade one completion per problem [P][1]."""
        # The seeds do not depend on the step, so every evaluation draws with the same random numbers.
        seeds = sampling_seeds(self.config, "examine", self.problems, 1)
        asked = asked_budgets(self.config, self.collector.fmt, "examine", self.problems)
        with self.learner.engine.gathered_weights():
            self.collector.engine.sync(step)  # generate with the current weights
            groups = collect_on_all_ranks(self.collector, self.problems, seeds, asked, self.ctx.world)
        outcomes: list[list[Outcome]] = []
        for group in groups:
            outcomes.append([sample.outcome for sample in group])
        return outcomes
