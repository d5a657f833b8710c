"""From problems to graded completions: prompt, generate, read, verify."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from budgetrl.core.records import Completion, Outcome, Problem
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.repetition import repetition
from budgetrl.grading.rows import Row, verdict_columns
from budgetrl.grading.verifier import Verdict, Verifier
from budgetrl.policy.codec import Prompt, Reading, TextCodec
from budgetrl.rollout.engine import RolloutEngine, Sampling


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion with everything that is known about it."""

    problem: Problem
    prompt: Prompt
    completion: Completion
    reading: Reading
    verdict: Verdict
    outcome: Outcome

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
    repetition_ngram: int | None = None
    """Size of the n-grams whose repetition is measured, in tokens; None: it is not."""

    def collect(
        self,
        problems: Sequence[Problem],
        seeds: Sequence[Sequence[int]],
        budgets: Sequence[int | None] | None = None,
    ) -> list[list[Sample]]:
        """One graded sample per problem and seed. `budgets` holds what is pre-filled, or asked for, per problem."""
        given = budgets or [None] * len(problems)
        prompts = [self.codec.prompt(p.problem, self.fmt, b) for p, b in zip(problems, given, strict=True)]
        completions = self.engine.generate([p.all_ids for p in prompts], seeds, self.sampling)
        written = [
            (problem, prompt, budget, completion)
            for problem, prompt, budget, group in zip(problems, prompts, given, completions, strict=True)
            for completion in group
        ]
        readings = [self.codec.read(q.prefix_ids + c.token_ids, self.fmt) for _, q, _, c in written]
        verdicts = self.verifier.grade([(w[0].answer, r.body) for w, r in zip(written, readings, strict=True)])
        samples = iter(
            Sample(p, q, c, r, v, self._outcome(p, b, c, r, v))
            for (p, q, b, c), r, v in zip(written, readings, verdicts, strict=True)
        )
        return [[next(samples) for _ in group] for group in completions]

    def prompt_texts(self, problems: Sequence[Problem], budgets: Sequence[int | None]) -> list[str]:
        """What the model is given, by problem."""
        prompts = [self.codec.prompt(p.problem, self.fmt, b) for p, b in zip(problems, budgets, strict=True)]
        return [self.codec.decode(prompt.all_ids) for prompt in prompts]

    def _outcome(
        self, problem: Problem, given: int | None, completion: Completion, reading: Reading, verdict: Verdict
    ) -> Outcome:
        """A completion that ran into the token limit is malformed and wrong, whatever its text looks like."""
        asked = self.codec.writable(given) if given and self.fmt.budget_in == "prompt" else None
        return Outcome(
            well_formed=reading.parsed.well_formed and completion.finished,
            correct=verdict.correct and completion.finished,
            length=reading.length,
            budget=asked or reading.parsed.budget,
            b_max=self.b_max.get(problem.id, math.inf),
            thinking_length=reading.thinking_length,
            truncated=not completion.finished,
            easy=reading.parsed.easy,
            repetition=repetition(reading.body_ids, self.repetition_ngram) if self.repetition_ngram else 0.0,
            level=problem.level,
            problem_id=problem.id,
            given_answer=verdict.answer,
        )


def completion_row(sample: Sample) -> Row:
    """What completions.jsonl says about a sample."""
    problem, outcome = sample.problem, asdict(sample.outcome)
    outcome["b_max"] = None if math.isinf(outcome["b_max"]) else outcome["b_max"]
    return {
        "problem_id": problem.id,
        "problem": problem.problem,
        "answer": problem.answer,
        "text": sample.reading.text,
        **outcome,
        **verdict_columns(sample.verdict, sample.outcome.truncated),
    }
