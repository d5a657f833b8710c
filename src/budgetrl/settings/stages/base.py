"""What the settings of every stage are, and what several of them ask of a configuration."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.data.sources.base import DatasetSettings, Split
from budgetrl.formats.base import ResponseFormat
from budgetrl.formats.registry import PLAIN
from budgetrl.settings.checkpoint import learned_for_format

if TYPE_CHECKING:
    from budgetrl.settings.config import Config

DatasetSplits = list[tuple[DatasetSettings, Split]]
"""The problems that a stage loads."""


@dataclass(frozen=True)
class StageSettings(ABC):
    """One job. Its fields are its settings; `workload` says what it will do, and `executor` names what does it."""

    name: str = ""
    """The option under conf/stage/, or the import path of a class of your own."""

    executor: ClassVar[str]
    """The module whose `run(stage, config, ctx)` does the job on each rank and returns the numbers of result.json."""
    reported: ClassVar[bool] = True
    """Whether report.md and figures are made from the run folder at the end."""
    always_runs: ClassVar[bool] = False
    """Whether a finished run is done anew, not called done: for cheap work on files that may have changed."""
    format_mismatch: ClassVar[Message] = Message("stage.format", "", "auto asks in the one that it learned")
    """The key to change, and how, where a model learned another format than the one it is asked in."""

    @abstractmethod
    def workload(self, config: "Config") -> Workload:
        """What the stage will do, as numbers."""

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        """The problems that it will load. Files that they lie in must be there before anything starts."""
        return []

    def resolve_format(self, config: "Config") -> ResponseFormat | None:
        """The format that the configured model is asked in, as it is before the stage; None if it is not asked."""
        return None

    def errors(self, config: "Config") -> list[Message]:
        """What cannot work in this configuration; empty if all is well."""
        return []

    def warnings(self, config: "Config") -> list[Message]:
        """What works but looks unintended."""
        return []


class Generates(Protocol):
    """A stage's own settings for what is generated."""

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...


def format_of_reward(config: "Config") -> ResponseFormat:
    """The format that the reward reads, or plain if it reads none."""
    return config.model.response_format(config.reward.needs_format or PLAIN)


def reward_format_errors(fmt: ResponseFormat, config: "Config") -> list[Message]:
    """Why the reward cannot read responses in this format, if it cannot."""
    needed, reward = config.reward.needs_format, config.reward.name
    if needed in (None, fmt.name):
        return []
    text = f"reward={reward} reads the {needed} format"
    return [Message("stage.format", text, f"set stage.format={needed}, or auto")]


def prompt_budget_errors(fmt: ResponseFormat, config: "Config") -> list[Message]:
    """Why prompts in this format cannot ask for a budget, if they cannot: the reward says for how many tokens."""
    if fmt.budget_in != "prompt" or config.reward.asked_budget(0) is not None:
        return []
    text = f"reward={config.reward.name} asks for no budget in the prompt, as the {fmt.name} format does"
    return [Message("stage.format", text, "take reward=l1_exact or l1_max")]


def format_warnings(config: "Config") -> list[Message]:
    """Where a stage asks a model in a format that its checkpoint did not learn."""
    asked = config.stage.resolve_format(config)
    if asked is None:
        return []
    found, learned = learned_for_format(config.model, asked), None
    if found and found.format.taught:
        learned = found.format.name
    if asked.taught and learned != asked.name:
        name = config.model.path
        text = f"no budgetrl.json says that {name} learned the {asked.name} format"
        if found:
            text = f"{name} learned the {found.format.name} format, not the {asked.name} format"
        return [Message("model.path", text, "stage=cold_start or stage=pipeline teaches it")]
    if learned and learned != asked.name:
        text = f"{config.model.path} learned the {learned} format and is asked in the {asked.name} format"
        return [replace(config.stage.format_mismatch, text=text)]
    if found and learned and found.length != config.model.length:
        text = f"{config.model.path} learned the {learned} format with length={found.length}"
        return [Message("model.length", text, "set the same")]
    return []


def length_errors(key: str, longest: int, config: "Config") -> list[Message]:
    """What the reward has against completions of at most `longest` tokens, which is what `key` says."""
    try:
        config.reward.with_max_length(longest)
    except SettingError as error:
        message = error.message.below("reward")
        return [Message(message.key, message.text, f"the longest completion is {key}={longest}")]
    return []


def missing_files(reads: Iterable[tuple[DatasetSettings, Split]], config: "Config") -> list[Message]:
    """What is wrong with the local files of these problems, a message for each that is not there."""
    errors: dict[Message, None] = {}  # in order, each once: two splits may come from one file
    for dataset, split in reads:
        for message in dataset.missing(split):
            is_own = dataset == config.dataset  # the others were named by stage.datasets
            errors[message.below("dataset") if is_own else replace(message, key="stage.datasets")] = None
    return list(errors)


def evaluated_datasets(config: "Config") -> dict[str, DatasetSettings]:
    """The data sets that an evaluation measures, by name."""
    return dict(config.eval_datasets) or {config.dataset.name: config.dataset}
