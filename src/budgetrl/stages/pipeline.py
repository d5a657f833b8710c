"""`pipeline`: the whole story, from an initial model to one that budgets, with the report that compares them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from budgetrl.data.problems import load_problems
from budgetrl.data.spec import DatasetSettings, Split
from budgetrl.report.comparable import HASHES
from budgetrl.runs.folder import read_rows
from budgetrl.stages.against import changes
from budgetrl.stages.base import WRITTEN, Context, Job, Stage, chosen_format
from budgetrl.stages.cold_start import ColdStart
from budgetrl.stages.evaluate import Evaluate
from budgetrl.stages.generation import open_verifier, problems_of
from budgetrl.stages.grpo import Grpo
from budgetrl.stages.label import LABELS, Label
from budgetrl.stages.provenance import grader_hash
from budgetrl.stages.rows import free_rows
from budgetrl.stages.shared import shared_part
from budgetrl.training.checkpoints import clear_states


@dataclass(frozen=True)
class Pipeline(Stage):
    """cold_start, label, grpo, evaluation of the initial and of the trained model, report. Each part has
    a folder of its own in the run's, and is skipped if it is done.

    A reward that reads no format in need of teaching gets no cold start, and one that reads no reference
    lengths no labels. The initial model is always measured in the plain format.
    """

    name: str = "pipeline"
    steps: int = 240
    """Optimizer steps of GRPO."""
    prompts_per_step: int = 16
    """Prompts of a GRPO step, over all ranks."""
    group_size: int = 8
    """Completions of each prompt in GRPO."""
    tokens_per_device: int = 4096
    """Most padded tokens in one micro-batch."""
    eval_every: int = 60
    """GRPO steps between evaluations on held-out problems; 0: only at the end."""
    datasets: tuple[str, ...] = ()
    """Options of `dataset` or JSONL files to evaluate on; empty: the held-out part of `dataset`."""
    shared: str | None = None
    """A folder in which runs keep what they have in common: the cold start, the labels and the evaluation of the
    initial model are made by the first run that needs them. Null: each run makes its own."""
    cold_start: ColdStart = field(default_factory=ColdStart)
    """Teach the format."""
    label: Label = field(default_factory=Label)
    """Ask the initial model for reference lengths."""
    grpo: Grpo = field(default_factory=Grpo)
    """Teach to budget."""
    evaluate: Evaluate = field(default_factory=Evaluate)
    """Measure before and after; budgets are given only after, and where the format has them."""

    trains_on_rollouts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.label.format != "plain":
            raise ValueError("label.format: must be plain here: the initial model knows no budgets")
        for key in ("regrade", "against"):
            if getattr(self.evaluate, key):
                raise ValueError(f"evaluate.{key}: is for stage=evaluate; leave it alone here")
        for part, keys in _SHARED.items():
            for key in keys:
                if getattr(getattr(self, part), key) != getattr(self, key):
                    raise ValueError(f"{part}.{key}: is set through stage.{key}; leave it alone")

    def plan(self, job: Job) -> dict[str, object]:
        parts = {**self._parts(job)}
        if "label" in parts:
            parts["grpo"] = replace(self.grpo, labels=f"label/{LABELS}")  # of the part before it
        plans = {name: stage.plan(job) for name, stage in parts.items()}
        plans["initial"] = {WRITTEN: self._initial().plan(job)[WRITTEN]}
        return {f"{name}: {key}": value for name, plan in plans.items() for key, value in plan.items()}

    def _initial(self) -> Evaluate:
        """How the initial model is evaluated: as what it is, without budgets."""
        return replace(self.evaluate, format="plain", budgets=())

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        return list(dict.fromkeys(read for part in self._parts(job).values() for read in part.reads(job)))

    def check(self, job: Job) -> list[str]:
        faults = [_inside(name, line) for name, part in self._parts(job).items() for line in part.check(job)]
        return faults + self._format_faults(job)

    def _format_faults(self, job: Job) -> list[str]:
        """What is taught, trained and evaluated has to be one format."""
        trained = chosen_format(self.grpo.format, job)
        others = {"evaluate": chosen_format(self.evaluate.format, job)}
        if trained.taught:
            others["cold_start"] = self.cold_start.taught(job)
        return [
            f"stage.{part}.format: {fmt.name} is not stage.grpo.format ({trained.name}); set both to one, or to auto"
            for part, fmt in others.items()
            if fmt.name != trained.name
        ]

    def odd(self, job: Job) -> list[str]:
        parts = self._parts(job)
        taught = _with_model(job, Path("cold_start")) if "cold_start" in parts else job
        return [_inside(name, line) for name, part in parts.items() for line in part.odd(taught)]

    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        self._load_all_problems(job, ctx)
        folder, parts, model = ctx.folder.path, self._parts(job), job
        grpo = self.grpo
        if "cold_start" in parts:
            self._run_common("cold_start", replace(self.cold_start, format=self.cold_start.taught(job).name), job, ctx)
            model = _with_model(job, folder / "cold_start" / "checkpoints" / "last")
        if "label" in parts:
            self._run_common("label", self.label, job, ctx)
            grpo = replace(grpo, labels=str(folder / "label" / LABELS))
        _run_part("grpo", grpo, model, ctx.child("grpo"))
        trained = _with_model(job, folder / "grpo" / "checkpoints" / "last")
        before = self._run_common("initial", self._initial(), job, ctx)
        after = _run_part("trained", parts["evaluate"], trained, ctx.child("trained"))
        _keep_hashes(ctx)
        results = {"initial": before, "trained": after}
        named = {f"{name}/{key}": value for name, result in results.items() for key, value in result.items()}
        rows = {name: free_rows(read_rows(folder / name / "completions.jsonl")) for name in results}
        return named | changes(rows["initial"], rows["trained"])

    def _load_all_problems(self, job: Job, ctx: Context) -> None:
        """Load what any part will read: a bad row of an exam is to end the run before days of training, not after.

        Raises RequestError for problems that cannot be had, or that are not those that the run began with.
        """
        with open_verifier(ctx) as verifier:
            for spec, split in self.reads(job):
                problems_of(spec, split, None, verifier, ctx)

    def _run_common(self, name: str, stage: Stage, job: Job, ctx: Context) -> dict[str, float]:
        """Run a part that does not depend on the reward and the algorithm, or take over what another run made."""
        if not self.shared:
            return _run_part(name, stage, job, ctx.child(name))
        held_out = [load_problems(spec, "eval") for spec in (job.dataset, *job.eval_datasets.values())]
        problems = [load_problems(job.dataset, "train"), *held_out]
        how = (job.rollout, job.zero, job.reward.repetition_ngram, grader_hash())
        content = (stage, job.seed, job.model, problems, how)
        with shared_part(Path(self.shared), name, content, ctx) as inner:
            return _run_part(name, stage, job, inner)

    def _parts(self, job: Job) -> Mapping[str, Stage]:
        """The parts that this reward and its format need."""
        fmt = chosen_format(self.grpo.format, job)
        has_budget = chosen_format(self.evaluate.format, job).budget_in is not None
        parts: dict[str, Stage] = {"cold_start": self.cold_start} if fmt.taught else {}
        if job.reward.needs_b_max:
            parts["label"] = self.label
        evaluate = self.evaluate if has_budget else replace(self.evaluate, budgets=())
        return {**parts, "grpo": self.grpo, "evaluate": evaluate}


_SHARED = {
    "grpo": ("steps", "prompts_per_step", "group_size", "tokens_per_device", "eval_every"),
    "evaluate": ("datasets",),
}
"""Keys that a pipeline has at its top, because scripts and people set them often."""


def _inside(name: str, line: str) -> str:
    """A part's remark about its keys, as a remark about the pipeline's."""

    def ours(found: re.Match[str]) -> str:
        key = found.group(1)
        return f"stage.{key}" if key in _SHARED.get(name, ()) else f"stage.{name}.{key}"

    return re.sub(r"\bstage\.(\w+)", ours, line)


def _run_part(name: str, stage: Stage, job: Job, ctx: Context) -> dict[str, float]:
    """Run one part in its folder, unless that is done; its numbers."""
    ctx.world.barrier()
    if ctx.folder.finished:
        ctx.tracker.replay(read_rows(ctx.folder.metrics) if ctx.folder.metrics.exists() else [])
    else:
        ctx.say(f"== {name}")
        result = stage.run(job, ctx)
        ctx.world.barrier()
        ctx.folder.write_result(result)
        if ctx.world.leads:
            clear_states(ctx.folder.checkpoints)
        ctx.tracker.log_result(result)
        ctx.world.barrier()
    return ctx.folder.read_result()


def _with_model(job: Job, path: Path) -> Job:
    return replace(job, model=replace(job.model, path=str(path), revision=None))


def _keep_hashes(ctx: Context) -> None:
    """Those of both evaluations beside the run's own result, under the names that the numbers have there."""
    every = {name: json.loads((ctx.folder.path / name / HASHES).read_text()) for name in ("initial", "trained")}
    named = {f"{name}/{dataset}": one for name, hashes in every.items() for dataset, one in hashes.items()}
    ctx.folder.write_json(HASHES, named)
