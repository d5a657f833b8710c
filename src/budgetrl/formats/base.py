"""The interface of all response formats: how a model is asked to lay out its response, and how the text is parsed.

Formats work on text, not on tokens. A format is a frozen dataclass whose fields are its settings;
`model.formats.<name>.<field>` sets them for a model. To use a format of your own, give the import path of its class
wherever a format name is expected.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from budgetrl.core.errors import RequestError, SettingError
from budgetrl.core.messages import Message
from budgetrl.core.records import Outcome

BUDGET_SLOT = "{budget}"
"""Placeholder in an instruction for the number of tokens."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The result of parsing a response. `body_start:body_end` is the range of characters whose tokens are counted.

    Example: for `<budget>12</budget><solution>2+3=5</solution>` the budget is 12 and the body is `2+3=5`.
    """

    well_formed: bool
    budget: int | None
    body_start: int
    body_end: int
    easy: bool | None = None
    """True if the response is tagged easy, False if hard, None if there is no tag."""

    def body(self, text: str) -> str:
        """Return the part of `text` that contains the reasoning and the answer."""
        return text[self.body_start : self.body_end]


@dataclass(frozen=True, slots=True)
class Target:
    """The texts to put before and after a body when a cold start teaches the format. Each text is tokenized separately.

    >>> Target(("<budget>5</budget>", "<solution>"), ("</solution>",)).around("2+3=5")
    '<budget>5</budget><solution>2+3=5</solution>'
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def around(self, body: str) -> str:
        """Return the whole response as text."""
        return "".join([*self.before, body, *self.after])


@dataclass(frozen=True, slots=True)
class Explanation:
    """Description of the responses of a trained model, for the model card and the report."""

    response: str = ""
    """Sentences that describe the response; empty if it is ordinary text."""
    start: str = ""
    """A response prefix that a user may give, such as `<budget>200</budget>`; empty if there is none."""
    purpose: str = ""
    """The effect of giving that prefix, such as "to set the budget yourself"."""


@dataclass(frozen=True, slots=True)
class Example:
    """Values of an outcome for which a figure plots a reward over length."""

    budget: int | None = None
    easy: bool | None = None
    note: str = ""
    """Short note for the figure, such as "budget 200 tokens"."""


@dataclass(frozen=True)
class ResponseFormat(ABC):
    """Base class of response formats. Subclasses must define `parse`; the other defaults suit plain text."""

    name: str = ""
    """The module in budgetrl.formats, or the import path of your own class."""
    instruction: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """Text added below each problem. {budget} is replaced by the number of tokens that the prompt asks for."""
    close: str = "</think>"
    """Text that ends the reasoning; only the answer follows."""
    answer_prefix: str = "\n**Final Answer**\n\\boxed{"
    """Text after which a model writes its answer immediately."""
    transitions: tuple[str, ...] = ("Wait", "Alternatively", "But", "However", "Hmm")
    """Words that start a new line of thought."""
    step_ends: tuple[str, ...] = ("\n\n",)
    """Texts that end a reasoning step."""

    taught: ClassVar[bool] = False
    """Whether a model must learn the format in a cold start."""
    budget_in: ClassVar[str | None] = None
    """Where the budget is: in the "response", in the "prompt", or None if the format has no budget."""
    starts_response: ClassVar[bool] = False
    """Whether responses start with a tag of this format. If so, a `<think>` that ends the prompt is removed."""
    body_opening: ClassVar[str] = ""
    """Text after which the body begins, if a response has something before its body."""
    samples_to_teach: ClassVar[int] = 1
    """Default number of completions per problem in a cold start.

    A format that chooses among the completions of a problem (`select_for_teaching`) needs more than one.
    """

    @abstractmethod
    def parse(self, text: str) -> Parsed:
        """Parse a finished completion without its end token.

        A malformed text has a body too, since its answer is still graded and its length counted.
        """

    def prefill(self, budget: int | None) -> str:
        """Return the response prefix for a budget that the user sets; empty without one."""
        return ""

    def budget_span(self, start: str) -> tuple[int, int] | None:
        """Return the character range of the budget's number if the response starts with a budget, else None.

        Example: (8, 11) for `<budget>200</budget>`. `algorithm.budget_entropy.start` adds an entropy bonus on the
        tokens in this range. The rest of the response may be malformed.
        """
        return None

    def select_for_teaching(self, group: Sequence[Outcome]) -> list[int]:
        """Return the indices of the completions that a cold start trains on; by default, all right ones."""
        # Truncated completions are never correct, so all selected ones ended by themselves.
        return [n for n, outcome in enumerate(group) if outcome.correct and outcome.well_formed]

    def target(self, outcome: Outcome, group: Sequence[Outcome], budget: int) -> Target:
        """Return the texts to teach around the body of a completion.

        Args:
            outcome: the outcome of the completion.
            group: the outcomes of all completions of the same problem.
            budget: the length of the completion, rounded to a number of tokens that the tokenizer can write.
        """
        return Target()

    def checked_target(self, outcome: Outcome, group: Sequence[Outcome], budget: int) -> Target:
        """Return `target` after checking it.

        Raises:
            RequestError: unless it is a `Target` with tuples of texts. A user's own format may get this wrong.
        """
        target = self.target(outcome, group, budget)
        if problem := _target_problem(target):
            text = f"target() of {self.name or type(self).__name__} {problem}"
            raise RequestError(Message("stage.format", text, 'return Target(("before",), ("after",))'))
        return target

    def explain(self) -> Explanation:
        """Return the description for the model card and the report."""
        return Explanation()

    def example(self, longest: int) -> Example:
        """Return the values with which a figure plots a reward for this format, for lengths up to `longest` tokens."""
        return Example()


def _target_problem(target: object) -> str | None:
    """Return what is wrong with a target, as the end of a sentence; None if nothing is."""
    if not isinstance(target, Target):
        return f"returned a {type(target).__name__}"
    for field in ("before", "after"):
        texts = getattr(target, field)
        if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
            return f"returned {field}={texts!r}, which is not a tuple of texts"  # ("ok") is a text, ("ok",) a tuple
    return None


def require_budget_slot(fmt: ResponseFormat) -> None:
    """Raise SettingError unless the instruction contains {budget}."""
    if BUDGET_SLOT not in fmt.instruction:
        raise SettingError("instruction", f"must contain {BUDGET_SLOT}, the place of the number of tokens")
