"""From problems to graded completions: prompt, generate, read, verify."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from budgetrl.core.records import Completion, Outcome, Problem, Request, Sampling
from budgetrl.decoding.base import DecodingMethod, Start
from budgetrl.decoding.sampling import PlainSampling
from budgetrl.formats.base import ResponseFormat
from budgetrl.grading.grader import Graded, GradingInput, ParsedResponse, grade
from budgetrl.grading.provenance import Hashes, evaluation_hashes, measure_hash
from budgetrl.grading.repetition import repetition
from budgetrl.grading.rows import completion_row
from budgetrl.grading.verifier import Verdict, Verifier
from budgetrl.policy.codec import Prompt, TextCodec
from budgetrl.rollout.engine import Engine
from budgetrl.rollout.programs import AnswerRequest, RunningProgram
from budgetrl.runs.world import World

ANY_BUDGET = 100
"""The budget in prompts that are hashed: what each really asks for is drawn, and differs from seed to seed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion with everything that is known about it."""

    problem: Problem
    prompt: Prompt
    completion: Completion
    response: ParsedResponse
    verdict: Verdict
    outcome: Outcome

    @property
    def response_ids(self) -> tuple[int, ...]:
        """All tokens of the response, given ones first."""
        return self.prompt.prefix_ids + self.completion.token_ids

    @property
    def row(self) -> dict[str, Any]:
        """The sample as a row of completions.jsonl."""
        return completion_row(self.problem, self.response.text, Graded(self.verdict, self.outcome))


@dataclass(frozen=True)
class Collector:
    """Generates and grades completions in one response format."""

    engine: Engine
    codec: TextCodec
    verifier: Verifier
    fmt: ResponseFormat
    sampling: Sampling
    decoding: DecodingMethod = field(default_factory=PlainSampling)
    intervention: object = None
    """What the decoding method does inside the steps, a `budgetrl.rollout.interventions.Intervention`."""
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
        given = list(budgets or [None] * len(problems))
        prompts = self.prompts(problems, given)
        completions = iter(self._generate(prompts, seeds))
        generated: list[tuple[Prompt, Completion, GradingInput]] = []
        for problem, prompt, budget, row in zip(problems, prompts, given, seeds, strict=True):
            for completion in islice(completions, len(row)):
                generated.append((prompt, completion, self._grading_input(problem, prompt, budget, completion)))
        # All at once, so that the verifier's processes share the work of all groups.
        graded = grade([item for _, _, item in generated], self.verifier)
        samples = iter(
            Sample(item.problem, prompt, completion, item.response, one.verdict, one.outcome)
            for (prompt, completion, item), one in zip(generated, graded, strict=True)
        )
        return [[next(samples) for _ in row] for row in seeds]

    def _generate(self, prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]]) -> list[Completion]:
        """A completion for each prompt and seed, prompt by prompt."""
        if self.decoding.is_one_request:
            requests: list[Request] = []
            for prompt, prompt_seeds in zip(prompts, seeds, strict=True):
                prompt_ids = prompt.all_ids
                requests += [Request(prompt_ids, seed, self.sampling) for seed in prompt_seeds]
            return self.engine.generate(requests)
        programs: list[RunningProgram] = []
        for prompt, prompt_seeds in zip(prompts, seeds, strict=True):
            prefix = self.codec.decode(prompt.prefix_ids)
            for seed in prompt_seeds:
                start = Start(self.fmt, self.codec, self.sampling.max_new_tokens, prefix)
                request = AnswerRequest(prompt.all_ids, seed, self.sampling, start)
                programs.append(RunningProgram(self.decoding, request, self.intervention))
        self.engine.run_programs(programs)
        return [program.completion(self.engine.version) for program in programs]

    def prompts(self, problems: Sequence[Problem], budgets: Sequence[int | None]) -> list[Prompt]:
        """What the model is given, by problem."""
        return [self.codec.prompt(p.problem, self.fmt, b) for p, b in zip(problems, budgets, strict=True)]

    def hashes(self, problems: Sequence[Problem], samples: int) -> Hashes:
        """What the numbers of a data set depend on, measured with this collector and so many samples of a problem.

        The hash of the prompts is the same whatever budget a prompt asks for or a pass pre-fills.
        """
        asked = ANY_BUDGET if self.fmt.budget_in == "prompt" else None
        prompts = self.prompts(problems, [asked] * len(problems))
        sampling = {**asdict(self.sampling), "samples": samples, "decoding": asdict(self.decoding)}
        del sampling["stop_ids"]  # they belong to the model
        measure = measure_hash(self.codec.settings.length, self.codec.tokenizer.get_vocab())
        return evaluation_hashes(problems, [self.codec.decode(prompt.all_ids) for prompt in prompts], sampling, measure)

    def _grading_input(
        self, problem: Problem, prompt: Prompt, given: int | None, completion: Completion
    ) -> GradingInput:
        """A completion as the grader is given it: read from its first token on, the given ones too."""
        response = self.codec.read(prompt.prefix_ids + completion.token_ids, self.fmt)
        asked = None
        if given is not None and self.fmt.budget_in == "prompt":
            asked = self.codec.writable(given)
        return GradingInput(
            problem=problem,
            response=response,
            truncated=not completion.finished,
            b_max=self.b_max.get(problem.id, math.inf),
            asked_budget=asked,
            repetition=repetition(response.body_ids, self.repetition_ngram),
            tokens_spent=completion.tokens_spent,
            tokens_read=completion.tokens_read,
        )


def collect_on_all_ranks(
    collector: Collector,
    problems: Sequence[Problem],
    seeds: Sequence[Sequence[int]],
    budgets: Sequence[int | None],
    world: World,
) -> list[list[Sample]]:
    """What `collector.collect` gives for all problems, on every rank, while each rank generates its share."""
    return world.merge(collector.collect(world.share(problems), world.share(seeds), world.share(budgets)))
