"""`pipeline`: train a model from start to finish, and compare it with the initial model in a report."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload, combine_workloads
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import AUTO, PLAIN
from budgetrl.runs.parts import COLD_START, GRPO, INITIAL, LABEL, TRAINED
from budgetrl.settings.auto import Rule, may_be_auto
from budgetrl.settings.stages.base import DatasetSplits, StageSettings, format_of_reward
from budgetrl.settings.stages.cold_start import ColdStart
from budgetrl.settings.stages.evaluate import Evaluate
from budgetrl.settings.stages.grpo import Grpo
from budgetrl.settings.stages.label import LABELS, Label

if TYPE_CHECKING:
    from budgetrl.settings.config import Config


@dataclass(frozen=True)
class Pipeline(StageSettings):
    """Run cold_start, label, grpo, an evaluation of the initial and of the trained model, and report.

    Each part is a run in a subfolder of its own, and is skipped if it is already finished. The cold start is left out
    if the reward's format needs no teaching, and the labels if the reward does not use b_max. The initial model is
    always evaluated in the plain format.
    """

    name: str = "pipeline"
    steps: int = 240
    """Optimizer steps of GRPO."""
    prompts_per_step: int = 16
    """Prompts per GRPO step, over all ranks."""
    group_size: int = 8
    """Completions per prompt in GRPO."""
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
    """Maximum padded tokens per micro-batch of GRPO."""
    eval_every: int = 60
    """GRPO steps between evaluations on held-out problems; 0: only at the end."""
    datasets: tuple[str, ...] = ()
    """Data sets to evaluate on: options of `dataset`, or JSONL files; empty: the held-out part of `dataset`."""
    shared: str | None = None
    """Folder for parts that several runs have in common (cold start, labels and evaluation of the initial model). The
    first run that needs a part creates it; null: each run has its own."""
    cold_start: ColdStart = field(default_factory=ColdStart)
    """Settings of the cold start, which teaches the format."""
    label: Label = field(default_factory=Label)
    """Settings of the labels, which are reference lengths from the initial model."""
    grpo: Grpo = field(default_factory=Grpo)
    """Settings of GRPO."""
    evaluate: Evaluate = field(default_factory=Evaluate)
    """Settings of both evaluations. Budgets are given only to the trained model, if its format has them."""

    executor: ClassVar[str] = "budgetrl.stages.pipeline"
    format_mismatch: ClassVar[Message] = Message(
        "model.path", "", "a pipeline needs a model without a learned format; use stage=grpo to train this one"
    )

    def __post_init__(self) -> None:
        text = "must be plain in a pipeline: the initial model does not know the budget format"
        require(self.label.format == PLAIN, "label.format", text)
        text = "cannot be set in a pipeline, which compares its own two evaluations"
        require(not self.evaluate.against, "evaluate.against", text, "leave it null")
        # conf/stage/pipeline.yaml copies these keys to the parts, so they differ only if someone set the lower one.
        for part, keys in PASSED_DOWN.items():
            for key in keys:
                same = getattr(getattr(self, part), key) == getattr(self, key)
                require(same, f"{part}.{key}", "cannot be set here in a pipeline", f"set stage.{key}")

    def parts(self, config: "Config") -> dict[str, StageSettings]:
        """Return the parts to run, in order, by the names of their folders."""
        fmt = self.trained_format(config)
        parts: dict[str, StageSettings] = {}
        if fmt.taught:
            parts[COLD_START] = replace(self.cold_start, format=self.cold_start.taught_format(config).name)
        if config.reward.needs_b_max:
            parts[LABEL] = self.label
        parts[GRPO] = replace(self.grpo, format=fmt.name)
        parts[INITIAL] = replace(self.evaluate, format=PLAIN, budgets=())  # the plain format has no budgets
        evaluated = self.evaluate if self.evaluate.format != AUTO else replace(self.evaluate, format=fmt.name)
        parts[TRAINED] = evaluated if fmt.budget_in else replace(evaluated, budgets=())
        return parts

    def trained_format(self, config: "Config") -> ResponseFormat:
        """Return the format of training and of the final evaluation: the reward's, unless `grpo.format` is set."""
        if self.grpo.format == AUTO:
            return format_of_reward(config)
        return config.model.response_format(self.grpo.format)

    def resolve_format(self, config: "Config") -> ResponseFormat:
        # The cold start samples the model in the plain format. Without one, the model is trained as it is.
        trained = self.trained_format(config)
        return config.model.response_format(PLAIN) if trained.taught else trained

    def workload(self, config: "Config") -> Workload:
        parts = self.parts(config)
        if LABEL in parts:
            # GRPO reads the labels of the part before it, so it does not generate its own.
            parts[GRPO] = replace(self.grpo, labels=f"{LABEL}/{LABELS}")
        works: dict[str, Workload] = {}
        for name, part in parts.items():
            work = part.workload(config)
            limits = {_pipeline_key(name, key): tokens for key, tokens in work.completion_limits.items()}
            micro_batches = {_pipeline_key(name, key): tokens for key, tokens in work.micro_batches.items()}
            # The summary of the initial evaluation would repeat that of the final one.
            summary = {} if name == INITIAL else work.summary
            works[name] = replace(work, summary=summary, completion_limits=limits, micro_batches=micro_batches)
        return combine_workloads(works)

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        splits: DatasetSplits = []
        for part in self.parts(config).values():
            splits += part.dataset_splits(config)
        return list(dict.fromkeys(splits))  # without duplicates, in order

    def errors(self, config: "Config") -> list[Message]:
        found: dict[Message, None] = {}  # without duplicates: both evaluations report the same errors
        for name, part in self.parts(config).items():
            for message in part.errors(config):
                found[_pipeline_message(name, message)] = None
        return [*found, *self._format_errors(config)]

    def warnings(self, config: "Config") -> list[Message]:
        found: dict[Message, None] = {}
        for name, part in self.parts(config).items():
            for message in part.warnings(config):
                found[_pipeline_message(name, message)] = None
        return list(found)

    def _format_errors(self, config: "Config") -> list[Message]:
        """Return errors if the formats that are taught, trained and evaluated are not all the same."""
        trained = self.trained_format(config)
        formats = {"evaluate": trained.name if self.evaluate.format == AUTO else self.evaluate.format}
        if trained.taught:
            formats[COLD_START] = self.cold_start.taught_format(config).name
        found = []
        for part, name in formats.items():
            if name != trained.name:
                text = f"{name} differs from stage.grpo.format ({trained.name})"
                found.append(Message(f"stage.{part}.format", text, "set both to the same format, or to auto"))
        return found


PASSED_DOWN = {
    GRPO: ("steps", "prompts_per_step", "group_size", "tokens_per_device", "eval_every"),
    "evaluate": ("datasets",),
}
"""Keys of parts that are set at the top level of the pipeline (`stage.steps`), because they are set often."""
FIELD_OF_PART = {INITIAL: "evaluate", TRAINED: "evaluate"}
"""The field with the settings of a part, for parts whose name differs from the field's."""


def _pipeline_message(part: str, message: Message) -> Message:
    """Return the message of a part with the pipeline's key in place of the part's."""
    return replace(message, key=_pipeline_key(part, message.key))


def _pipeline_key(part: str, key: str) -> str:
    """Return the pipeline's key for a key of one of its parts: `stage.samples` of label is `stage.label.samples`."""
    group, _, name = key.partition(".")
    if group != "stage":
        return key
    field_name = FIELD_OF_PART.get(part, part)
    passed_down = name in PASSED_DOWN.get(field_name, ())
    return key if passed_down else f"stage.{field_name}.{name}"
