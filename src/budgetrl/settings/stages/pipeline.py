"""`pipeline`: the whole story, from an initial model to one that budgets, with the report that compares them."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from budgetrl.core.checks import require
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload, together
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
    """cold_start, label, grpo, evaluation of the initial and of the trained model, report. Each part is a run with
    a folder of its own in the pipeline's, and is skipped if it is done.

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
    tokens_per_device: int = may_be_auto(4096, Rule.MICRO_BATCH)
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

    executor: ClassVar[str] = "budgetrl.stages.pipeline"
    format_mismatch: ClassVar[Message] = Message(
        "model.path", "", "a pipeline begins with a model that learned no format; stage=grpo trains this one on"
    )

    def __post_init__(self) -> None:
        require(self.label.format == PLAIN, "label.format", "must be plain here: the initial model knows no budgets")
        require(not self.evaluate.against, "evaluate.against", "is for stage=evaluate", "leave it alone here")
        for part, keys in PASSED_DOWN.items():
            for key in keys:
                same = getattr(getattr(self, part), key) == getattr(self, key)
                require(same, f"{part}.{key}", f"is set through stage.{key}", "leave it alone")

    def parts(self, config: "Config") -> dict[str, StageSettings]:
        """The parts that this reward and its format need, by the name of their folder, in the order they are run."""
        fmt = self.trained_format(config)
        parts: dict[str, StageSettings] = {}
        if fmt.taught:
            parts[COLD_START] = replace(self.cold_start, format=self.cold_start.taught_format(config).name)
        if config.reward.needs_b_max:
            parts[LABEL] = self.label
        parts[GRPO] = replace(self.grpo, format=fmt.name)
        parts[INITIAL] = replace(self.evaluate, format=PLAIN, budgets=())
        evaluated = self.evaluate if self.evaluate.format != AUTO else replace(self.evaluate, format=fmt.name)
        parts[TRAINED] = evaluated if fmt.budget_in else replace(evaluated, budgets=())
        return parts

    def trained_format(self, config: "Config") -> ResponseFormat:
        """The format that the model is trained and then evaluated in: the reward's, unless `grpo.format` is set."""
        if self.grpo.format == AUTO:
            return format_of_reward(config)
        return config.model.response_format(self.grpo.format)

    def resolve_format(self, config: "Config") -> ResponseFormat:
        trained = self.trained_format(config)
        return config.model.response_format(PLAIN) if trained.taught else trained

    def workload(self, config: "Config") -> Workload:
        parts = self.parts(config)
        if LABEL in parts:
            parts[GRPO] = replace(self.grpo, labels=f"{LABEL}/{LABELS}")  # of the part before it
        works: dict[str, Workload] = {}
        for name, part in parts.items():
            work = part.workload(config)
            works[name] = replace(
                work,
                summary=work.summary if name != INITIAL else {},  # but for its format that of the trained model
                completion_limits={_key_above(name, key): value for key, value in work.completion_limits.items()},
                micro_batches={_key_above(name, key): value for key, value in work.micro_batches.items()},
            )
        return together(works)

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        every = [read for part in self.parts(config).values() for read in part.dataset_splits(config)]
        return list(dict.fromkeys(every))

    def errors(self, config: "Config") -> list[Message]:
        found: dict[Message, None] = {}  # each once, since two parts are evaluations
        for name, part in self.parts(config).items():
            for message in part.errors(config):
                found[_of_pipeline(name, message)] = None
        return [*found, *self._format_errors(config)]

    def warnings(self, config: "Config") -> list[Message]:
        found: dict[Message, None] = {}
        for name, part in self.parts(config).items():
            for message in part.warnings(config):
                found[_of_pipeline(name, message)] = None
        return list(found)

    def _format_errors(self, config: "Config") -> list[Message]:
        """What is taught, trained and evaluated has to be one format."""
        trained = self.trained_format(config)
        others = {"evaluate": trained.name if self.evaluate.format == AUTO else self.evaluate.format}
        if trained.taught:
            others[COLD_START] = self.cold_start.taught_format(config).name
        found = []
        for part, name in others.items():
            if name != trained.name:
                text = f"{name} is not stage.grpo.format ({trained.name})"
                found.append(Message(f"stage.{part}.format", text, "set both to one, or to auto"))
        return found


PASSED_DOWN = {
    GRPO: ("steps", "prompts_per_step", "group_size", "tokens_per_device", "eval_every"),
    "evaluate": ("datasets",),
}
"""Keys that a pipeline has at its top, because scripts and people set them often."""
SETTINGS_OF = {INITIAL: "evaluate", TRAINED: "evaluate"}
"""The field that a part's settings come from, where that has another name."""


def _of_pipeline(part: str, message: Message) -> Message:
    """What a part says of one of its keys, as said of the pipeline's."""
    return replace(message, key=_key_above(part, message.key))


def _key_above(part: str, key: str) -> str:
    """The pipeline's key for a key of one of its parts."""
    group, _, name = key.partition(".")
    if group != "stage":
        return key
    field_name = SETTINGS_OF.get(part, part)
    passed_down = name in PASSED_DOWN.get(field_name, ())
    return key if passed_down else f"stage.{field_name}.{name}"
