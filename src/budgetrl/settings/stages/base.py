"""What the settings of every stage are, and what several of them ask of a configuration."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from budgetrl.core.errors import SettingError
from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.data.sources.base import DatasetSettings, Split
from budgetrl.formats.formats import AUTO, ResponseFormat

if TYPE_CHECKING:
    from budgetrl.settings.config import Config

Reads = list[tuple[DatasetSettings, Split]]
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

    @abstractmethod
    def workload(self, config: "Config") -> Workload:
        """What the stage will do, as numbers."""

    def reads(self, config: "Config") -> Reads:
        """The problems that it will load. Files that they lie in must be there before anything starts."""
        return []

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


def chosen_format(name: str, config: "Config") -> ResponseFormat:
    """The response format of a stage; auto: the one that the reward reads, else plain."""
    return config.model.response_format(config.reward.needs_format or "plain" if name == AUTO else name)


def unread_format(name: str, config: "Config") -> list[Message]:
    """Why the reward cannot read responses in a stage's format, if it cannot."""
    needed, reward = config.reward.needs_format, config.reward.name
    if needed in (None, chosen_format(name, config).name):
        return []
    return [
        Message("stage.format", f"reward={reward} reads the {needed} format", f"set stage.format={needed}, or auto")
    ]


def format_errors(name: str, config: "Config") -> list[Message]:
    """What cannot work in a stage that asks for this format."""
    reward, chosen = config.reward.name, chosen_format(name, config).name
    if unread := unread_format(name, config):
        return unread
    if chosen == "prompt_budget" and not config.model.prompt_budget_instruction:
        return [Message("model.prompt_budget_instruction", "must say how a prompt asks for {budget} tokens")]
    if chosen == "prompt_budget" and config.reward.asked_budget(0) is None:
        text = f"reward={reward} asks for no budget in the prompt"
        return [Message("stage.format", text, "take reward=l1_exact or l1_max")]
    return []


def length_errors(key: str, longest: int, config: "Config") -> list[Message]:
    """What the reward has against completions of at most `longest` tokens, which is what `key` says."""
    try:
        config.reward.within(longest)
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


def evaluated_sets(config: "Config") -> dict[str, DatasetSettings]:
    """The data sets that an evaluation measures, by name."""
    return dict(config.eval_datasets) or {config.dataset.name: config.dataset}
