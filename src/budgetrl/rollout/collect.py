"""Turn problems into graded completions: build prompts, generate, parse, verify."""

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

HASHED_BUDGET = 100
"""Stand-in for the budget in prompts that are hashed. The real budgets are random and depend on the run's seed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion with its problem, prompt, parsed response and grade."""

    problem: Problem
    prompt: Prompt
    completion: Completion
    response: ParsedResponse
    verdict: Verdict
    outcome: Outcome

    @property
    def response_ids(self) -> tuple[int, ...]:
        """All tokens of the response: pre-filled ones, then generated ones."""
        return self.prompt.prefix_ids + self.completion.token_ids

    @property
    def row(self) -> dict[str, Any]:
        """This sample as a row of completions.jsonl."""
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
    """The decoding method's `budgetrl.rollout.interventions.Intervention`, or None."""
    b_max: Mapping[str, float] = field(default_factory=dict)
    """Reference length in tokens, by problem id. Infinite for problems that are missing."""
    repetition_ngram: int | None = None
    """Size in tokens of the n-grams for the repetition measure. None turns the measure off."""

    def collect(
        self,
        problems: Sequence[Problem],
        seeds: Sequence[Sequence[int]],
        budgets: Sequence[int | None] | None = None,
    ) -> list[list[Sample]]:
        """Generate and grade one sample per problem and seed.

        Args:
            problems: the problems [P].
            seeds: the sampling seeds [P][n]. Problems may have different numbers of seeds.
            budgets: the budget [P] that each prompt asks for, or that is pre-filled; None: no budgets.

        Returns:
            The samples [P][n].
        """
        budgets = budgets or [None] * len(problems)
        prompts = self.prompts(problems, budgets)
        completions = iter(self._generate(prompts, seeds))
        generated: list[tuple[Prompt, Completion]] = []
        inputs: list[GradingInput] = []
        for problem, prompt, budget, problem_seeds in zip(problems, prompts, budgets, seeds, strict=True):
            for completion in islice(completions, len(problem_seeds)):
                generated.append((prompt, completion))
                inputs.append(self._grading_input(problem, prompt, budget, completion))
        # Grade everything in one call, so that the verifier's processes stay busy across groups.
        graded = grade(inputs, self.verifier)

        # Build the samples in the same order and regroup them by problem.
        items = zip(generated, inputs, graded, strict=True)
        groups: list[list[Sample]] = []
        for problem_seeds in seeds:
            group: list[Sample] = []
            for (prompt, completion), item, grading in islice(items, len(problem_seeds)):
                response = item.response
                group.append(Sample(item.problem, prompt, completion, response, grading.verdict, grading.outcome))
            groups.append(group)
        return groups

    def _generate(self, prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]]) -> list[Completion]:
        """Return a completion for each prompt and seed, in one flat list ordered by prompt."""
        # The common case needs no programs: one plain request per completion.
        if self.decoding.is_one_request:
            requests: list[Request] = []
            for prompt, prompt_seeds in zip(prompts, seeds, strict=True):
                prompt_ids = prompt.all_ids
                for seed in prompt_seeds:
                    requests.append(Request(prompt_ids, seed, self.sampling))
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
        """Return the prompt of each problem."""
        return [self.codec.prompt(p.problem, self.fmt, b) for p, b in zip(problems, budgets, strict=True)]

    def hashes(self, problems: Sequence[Problem], samples: int) -> Hashes:
        """Return hashes of everything that the metrics of a data set depend on.

        The prompt hash does not depend on the budget that a prompt asks for or that is pre-filled.

        Args:
            problems: the problems of the data set.
            samples: number of samples per problem.
        """
        budget = HASHED_BUDGET if self.fmt.budget_in == "prompt" else None
        prompts = self.prompts(problems, [budget] * len(problems))
        sampling = {**asdict(self.sampling), "samples": samples, "decoding": asdict(self.decoding)}
        del sampling["stop_ids"]  # these belong to the model, and different models should stay comparable
        measure = measure_hash(self.codec.settings.length, self.codec.tokenizer.get_vocab())
        texts = [self.codec.decode(prompt.all_ids) for prompt in prompts]
        return evaluation_hashes(problems, texts, sampling, measure)

    def _grading_input(
        self, problem: Problem, prompt: Prompt, budget: int | None, completion: Completion
    ) -> GradingInput:
        """Return the grader's input for a completion."""
        # The pre-filled tokens are part of the response, so they are parsed with it.
        response = self.codec.read(prompt.prefix_ids + completion.token_ids, self.fmt)
        asked = None
        if budget is not None and self.fmt.budget_in == "prompt":
            asked = self.codec.writable(budget)  # the prompt contains the rounded number
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
    """Return the samples [P][n] of all problems on every rank. Each rank generates only its share of them."""
    return world.merge(collector.collect(world.share(problems), world.share(seeds), world.share(budgets)))
