"""From problems to graded completions: prompt, generate, read, verify."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from budgetrl.budget.format import ResponseFormat
from budgetrl.budget.records import Completion, Outcome, Problem
from budgetrl.policy.codec import Prompt, Reading, TextCodec
from budgetrl.rollout.engine import RolloutEngine, Sampling
from budgetrl.verify.pool import Verdict, Verifier


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion with everything that is known about it."""

    problem: Problem
    prompt: Prompt
    completion: Completion
    reading: Reading
    verdict: Verdict
    outcome: Outcome
    prefilled: int | None = None
    """The user's budget, where one was pre-filled."""

    @property
    def response_ids(self) -> tuple[int, ...]:
        """All tokens of the response, given ones first."""
        return self.prompt.prefix_ids + self.completion.token_ids


@dataclass(frozen=True)
class Collector:
    """Writes and grades completions in one response format."""

    engine: RolloutEngine
    codec: TextCodec
    verifier: Verifier
    fmt: ResponseFormat
    sampling: Sampling
    b_max: Mapping[str, float] = field(default_factory=dict)
    """Reference length by problem id; infinite where absent."""

    def collect(
        self,
        problems: Sequence[Problem],
        seeds: Sequence[Sequence[int]],
        budget: int | None = None,
    ) -> list[list[Sample]]:
        """One graded sample per problem and seed; with `budget`, that budget is pre-filled everywhere."""
        prompts = [self.codec.prompt(p.problem, self.fmt, budget) for p in problems]
        completions = self.engine.generate([p.all_ids for p in prompts], seeds, self.sampling)
        written = [
            (problem, prompt, completion)
            for problem, prompt, group in zip(problems, prompts, completions, strict=True)
            for completion in group
        ]
        readings = [self.codec.read(q.prefix_ids + c.token_ids, self.fmt) for _, q, c in written]
        verdicts = self.verifier.grade([(w[0].answer, r.body) for w, r in zip(written, readings, strict=True)])
        samples = iter(
            Sample(p, q, c, r, v, self._outcome(p, c, r, v), budget)
            for (p, q, c), r, v in zip(written, readings, verdicts, strict=True)
        )
        return [[next(samples) for _ in group] for group in completions]

    def _outcome(self, problem: Problem, completion: Completion, reading: Reading, verdict: Verdict) -> Outcome:
        """A completion that ran into the token limit is malformed, whatever its text looks like."""
        return Outcome(
            well_formed=reading.parsed.well_formed and completion.finished,
            correct=verdict.correct,
            length=reading.length,
            budget=reading.parsed.budget,
            b_max=self.b_max.get(problem.id, math.inf),
            thinking_length=reading.thinking_length,
            truncated=not completion.finished,
            level=problem.level,
            problem_id=problem.id,
        )
