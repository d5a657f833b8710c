"""What every stage is, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from budgetrl.data.problems import DatasetSettings
from budgetrl.data.spec import Split
from budgetrl.formats.formats import AUTO, ResponseFormat
from budgetrl.rewards.reward import Reward
from budgetrl.runs.folder import RunFolder
from budgetrl.runs.progress import Progress
from budgetrl.runs.stop import Stop, Stopped
from budgetrl.runs.tracking import Tracker
from budgetrl.settings.algorithm import Algorithm
from budgetrl.settings.model import ModelSettings
from budgetrl.settings.rollout import AnyRollout
from budgetrl.settings.zero import ZeroSettings

if TYPE_CHECKING:  # torch takes a second to import, which a request that is wrong should not wait for
    from budgetrl.training.distributed import World


@dataclass(frozen=True)
class Job:
    """The configuration a stage works with: every group but its own and those of the launch."""

    seed: int
    model: ModelSettings
    dataset: DatasetSettings
    reward: Reward
    algorithm: Algorithm
    rollout: AnyRollout
    zero: ZeroSettings
    eval_datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    """Data sets to evaluate on instead of the held-out part of `dataset`."""


def chosen_format(name: str, job: Job) -> ResponseFormat:
    """The response format of a stage; auto: the one that the reward reads, else plain."""
    return job.model.response_format(job.reward.needs_format or "plain" if name == AUTO else name)


def unread_format(name: str, job: Job) -> list[str]:
    """Why the reward cannot read responses in a stage's format, if it cannot."""
    needed, reward = job.reward.needs_format, job.reward.name
    if needed in (None, chosen_format(name, job).name):
        return []
    return [f"stage.format: reward={reward} reads the {needed} format; set stage.format={needed}, or auto"]


def format_faults(name: str, job: Job) -> list[str]:
    """What cannot work in a stage that asks for this format."""
    reward, chosen = job.reward.name, chosen_format(name, job).name
    if unread := unread_format(name, job):
        return unread
    if chosen == "prompt_budget" and not job.model.prompt_budget_instruction:
        return ["model.prompt_budget_instruction: must say how a prompt asks for {budget} tokens"]
    if chosen == "prompt_budget" and job.reward.asked_budget(0) is None:
        return [f"stage.format: reward={reward} asks for no budget in the prompt; take reward=l1_exact or l1_max"]
    return []


def length_faults(key: str, longest: int, job: Job) -> list[str]:
    """What the reward has against completions of at most `longest` tokens, which is what `key` says."""
    try:
        job.reward.within(longest)
    except ValueError as error:
        return [f"reward.{error}; the longest completion is {key}={longest}"]
    return []


WRITTEN, LEARNED = "tokens written, at most", "tokens learned, at most"
"""Lines of a plan, from which a cost follows. Tokens of responses; prompts are not counted."""


def token_lines(written: int | None, learned: int | None = 0) -> dict[str, object]:
    """These lines; None is a number that is not known before the problems are there."""
    return {name: "not known" if n is None else n for name, n in ((WRITTEN, written), (LEARNED, learned)) if n != 0}


def missing_files(reads: Iterable[tuple[DatasetSettings, Split]], job: Job) -> list[str]:
    """What is wrong with the local files of these problems, a line for each that is not there."""
    faults: dict[str, None] = {}  # in order, each once: two splits may come from one file
    for spec, split in reads:
        path, key = spec.local_file(split), f"dataset.{spec.source_key(split)}"
        if path is not None and not (path.is_file() if spec.source == "jsonl" else path.is_dir()):
            kind = "file" if spec.source == "jsonl" else "folder"
            faults[f"{key if spec == job.dataset else 'stage.datasets'}: there is no {kind} {path}"] = None
    return list(faults)


@dataclass(frozen=True)
class Context:
    """Where a stage runs: its ranks, its folder, and whom it tells."""

    world: "World"
    folder: RunFolder
    tracker: Tracker
    progress: Progress
    stop: Stop

    def child(self, name: str) -> "Context":
        """The context of a stage inside this one: a folder below, metrics under `name/`."""
        return replace(self, folder=self.folder.child(name), tracker=self.tracker.at(name))

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        self.progress.say(text)

    def check_stop(self) -> None:
        """Raise Stopped on every rank if any rank was told to stop."""
        if self.world.any(self.stop.requested):
            raise Stopped


@dataclass(frozen=True)
class Stage(ABC):
    """One job. `plan` says what it will do, `run` does it and returns the flat numbers of result.json."""

    name: str = ""
    """The option under conf/stage/, or the import path of a class of your own."""

    reported: ClassVar[bool] = True
    """Whether report.md and figures are made from the run folder at the end."""
    runs_model: ClassVar[bool] = True
    """Whether a model is run: if not, there is no memory to plan, and nothing to tell W&B."""
    trains_on_rollouts: ClassVar[bool] = False
    """Whether a model in training also writes, and `algorithm` says how it learns from that."""
    trains: ClassVar[bool] = True
    """Whether it changes a model, which then must be on this machine."""
    served: ClassVar[bool] = False
    """Whether what it writes may be written by a server (`rollout=openai`)."""
    always_runs: ClassVar[bool] = False
    """Whether a finished run is done anew, not called done: for cheap work on files that may have changed."""

    @abstractmethod
    def plan(self, job: Job) -> dict[str, object]:
        """Derived numbers worth knowing before anything starts, such as completions a step."""

    @abstractmethod
    def run(self, job: Job, ctx: Context) -> dict[str, float]:
        """Do the job on this rank."""

    def reads(self, job: Job) -> list[tuple[DatasetSettings, Split]]:
        """The problems that it will load. Files that they lie in must be there before anything starts."""
        return []

    def check(self, job: Job) -> list[str]:
        """What cannot work in this job, one line each, beginning with the dotted key; empty if all is well."""
        return []

    def odd(self, job: Job) -> list[str]:
        """What works but looks unintended, one line each."""
        return []
