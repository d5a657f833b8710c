"""What every response format is: how a model is asked to lay out its response, and how its text is read.

Pure text, no tokens. A format is a frozen dataclass: its class is its settings, and `model.formats.<name>.<field>` sets
them for a model. A format of your own is a class in your package, named by its import path wherever a name is expected.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.errors import SettingError
from budgetrl.core.records import Outcome

BUDGET_SLOT = "{budget}"
"""What an instruction writes where the number of tokens is to stand."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """How a text reads in a format. `body_start:body_end` are the characters whose tokens are counted."""

    well_formed: bool
    budget: int | None
    body_start: int
    body_end: int
    easy: bool | None = None
    """The difficulty tag, where the format has one and it was written."""

    def body(self, text: str) -> str:
        """The part of `text` that holds the reasoning and the answer."""
        return text[self.body_start : self.body_end]


@dataclass(frozen=True, slots=True)
class Target:
    """A response to learn: texts before and after the tokens of a body. Each text is encoded by itself.

    >>> Target(("<budget>5</budget>", "<solution>"), ("</solution>",)).around("2+3=5")
    '<budget>5</budget><solution>2+3=5</solution>'
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def around(self, body: str) -> str:
        """The whole response as text."""
        return "".join([*self.before, body, *self.after])


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a user of a trained model has to know about its responses, for the model card and the report."""

    response: str = ""
    """Sentences on what the response looks like; empty if it is ordinary text."""
    start: str = ""
    """The start of a response that a user may give, such as `<budget>200</budget>`; empty if there is none."""
    purpose: str = ""
    """What giving that start does."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a response looks like to a reward, for a picture of the reward."""

    budget: int | None = None
    easy: bool | None = None
    note: str = ""
    """What is drawn, in a few words."""


@dataclass(frozen=True)
class ResponseFormat(ABC):
    """One way to lay out a response. A subclass must define `parse`; the rest has defaults that suit plain text."""

    name: str = ""
    """The module in budgetrl.formats, or the import path of a class of your own."""
    instruction: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """Added below each problem; {budget} stands for the number of tokens that a prompt asks for."""
    close: str = "</think>"
    """The text that ends the reasoning, so that only the answer is left to write."""
    answer_prefix: str = "\n**Final Answer**\n\\boxed{"
    """The text after which a model writes its answer at once."""
    transitions: tuple[str, ...] = ("Wait", "Alternatively", "But", "However", "Hmm")
    """Words that begin a new line of thought."""
    step_ends: tuple[str, ...] = ("\n\n",)
    """Texts that end a step of the reasoning."""

    taught: ClassVar[bool] = False
    """Whether a model has to be taught to write it, by a cold start."""
    budget_in: ClassVar[str | None] = None
    """Where a budget stands: in the "response", in the "prompt", or nowhere (None)."""
    starts_response: ClassVar[bool] = False
    """Whether a text of the format's own comes first, so that a `<think>` of the chat template is taken off."""
    samples_to_teach: ClassVar[int] = 1
    """How many completions of each problem a cold start samples, if its settings do not say. A format that compares
    them to choose what is learned needs more than one."""

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Read a finished completion, the end token taken off. A malformed text has a body too: its answer is graded
        and its length is counted."""

    def prefill(self, budget: int | None) -> str:
        """The start of the response that a user's budget gives; empty where there is none."""
        return ""

    def budget_span(self, start: str) -> tuple[int, int] | None:
        """The characters that hold the budget's number in the start of a response, if it begins with a budget.

        These are the tokens that `algorithm.budget_entropy.start` keeps varied. The response may be malformed later.
        """
        return None

    def select_for_teaching(self, group: Sequence[Outcome]) -> list[int]:
        """Which completions of a problem a cold start learns from, as indices: here all that are right and ended."""
        return [n for n, outcome in enumerate(group) if outcome.correct and outcome.well_formed]

    def target(self, outcome: Outcome, group: Sequence[Outcome], budget: int) -> Target:
        """The response to teach around the body of a completion.

        `outcome` is the completion's, `group` those of all completions of its problem, and `budget` is its length as
        the nearest number of tokens that the tokenizer can write.
        """
        return Target()

    def explain(self) -> Explanation:
        """What the model card and the report say about a model that learned the format."""
        return Explanation()

    def example(self, longest: int) -> Example:
        """What a reward that reads the format is drawn with, for responses of up to `longest` tokens."""
        return Example()


def require_budget_slot(fmt: ResponseFormat) -> None:
    """SettingError unless the instruction of a format with the budget in the prompt says where it stands."""
    if BUDGET_SLOT not in fmt.instruction:
        raise SettingError("instruction", f"must say {BUDGET_SLOT} where the number of tokens is to stand")
