"""The base class for the settings of a stage, and checks that several stages share."""

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
"""Data sets and their splits, such as `[(gsm8k, "train"), (gsm8k, "eval")]`."""


@dataclass(frozen=True)
class StageSettings(ABC):
    """The settings of one stage. `workload` describes its work in numbers; `executor` names the code that does it."""

    name: str = ""
    """An option in conf/stage/, or the import path of your own settings class."""

    # Only the name of the module, because importing it may import torch.
    executor: ClassVar[str]
    """Module whose `run(stage, config, ctx)` executes the stage on each rank and returns the numbers of result.json."""
    reported: ClassVar[bool] = True
    """Whether report.md and figures are written to the run folder at the end."""
    always_runs: ClassVar[bool] = False
    """Whether the stage runs again in a finished run folder. For cheap stages whose input files may have changed."""
    format_mismatch: ClassVar[Message] = Message("stage.format", "", "auto selects the format that it learned")
    """The key and hint of the warning shown if the model learned one format and is prompted in another. The text is
    filled in by `format_warnings`."""

    @abstractmethod
    def workload(self, config: "Config") -> Workload:
        """Return the stage's work in numbers, for plans, memory estimates and checks."""

    def dataset_splits(self, config: "Config") -> DatasetSplits:
        """Return the data set splits that the stage loads. Their local files must exist before the run starts."""
        return []

    def resolve_format(self, config: "Config") -> ResponseFormat | None:
        """Return the format that the configured model is first prompted in, or None if the stage prompts no model."""
        return None

    def errors(self, config: "Config") -> list[Message]:
        """Return the reasons why the stage cannot run with this configuration; empty if there are none."""
        return []

    def warnings(self, config: "Config") -> list[Message]:
        """Return warnings about settings that work but look unintended."""
        return []


class Generates(Protocol):
    """The sampling settings of every stage that generates completions."""

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...


def format_of_reward(config: "Config") -> ResponseFormat:
    """Return the format that the reward requires, or plain if it accepts any."""
    return config.model.response_format(config.reward.needs_format or PLAIN)


def reward_format_errors(fmt: ResponseFormat, config: "Config") -> list[Message]:
    """Return an error if the reward requires another format than `fmt`."""
    needed = config.reward.needs_format
    if needed in (None, fmt.name):
        return []
    text = f"reward={config.reward.name} requires the {needed} format"
    return [Message("stage.format", text, f"set stage.format={needed}, or auto")]


def prompt_budget_errors(fmt: ResponseFormat, config: "Config") -> list[Message]:
    """Return an error if the format puts a budget in the prompt, but the reward, which draws it, has none."""
    if fmt.budget_in != "prompt" or config.reward.asked_budget(0) is not None:
        return []
    text = f"the {fmt.name} format needs a budget in the prompt, and reward={config.reward.name} sets none"
    return [Message("stage.format", text, "use reward=l1_exact or reward=l1_max, or another format")]


def format_warnings(config: "Config") -> list[Message]:
    """Return a warning if the stage prompts a model in another format than its checkpoint learned."""
    fmt = config.stage.resolve_format(config)
    if fmt is None:
        return []
    found = learned_for_format(config.model, fmt)
    # Formats such as plain need no teaching, so a budgetrl.json that names one does not count as learned.
    learned = found.format.name if found and found.format.taught else None
    path = config.model.path

    if fmt.taught and learned != fmt.name:
        if found:
            text = f"{path} learned the {found.format.name} format, not the {fmt.name} format"
        else:
            text = f"no budgetrl.json says that {path} learned the {fmt.name} format"
        return [Message("model.path", text, "stage=cold_start or stage=pipeline teaches it")]
    if learned and learned != fmt.name:
        text = f"{path} learned the {learned} format, but is prompted in the {fmt.name} format"
        return [replace(config.stage.format_mismatch, text=text)]
    if found and learned and found.length != config.model.length:
        # Budgets learned with one way of counting tokens do not match lengths that are counted another way.
        text = f"{path} learned the {learned} format with length={found.length}"
        return [Message("model.length", text, f"set model.length={found.length}")]
    return []


def length_errors(key: str, longest: int, config: "Config") -> list[Message]:
    """Return an error if the reward cannot score completions of up to `longest` tokens. `key` sets that number."""
    try:
        config.reward.with_max_length(longest)
    except SettingError as error:
        message = error.message.below("reward")
        return [Message(message.key, message.text, f"the longest completion is {key}={longest}")]
    return []


def missing_files(splits: Iterable[tuple[DatasetSettings, Split]], config: "Config") -> list[Message]:
    """Return one error for each local data file that does not exist."""
    errors: dict[Message, None] = {}  # a dictionary removes duplicates: two splits may come from the same file
    for dataset, split in splits:
        for message in dataset.missing(split):
            if dataset == config.dataset:
                errors[message.below("dataset")] = None
            else:  # one of `eval_datasets`, which the user set with stage.datasets
                errors[replace(message, key="stage.datasets")] = None
    return list(errors)


def evaluated_datasets(config: "Config") -> dict[str, DatasetSettings]:
    """Return the data sets to evaluate on, by name: those of stage.datasets, or else the `dataset` group."""
    return dict(config.eval_datasets) or {config.dataset.name: config.dataset}
