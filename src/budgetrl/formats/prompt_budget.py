"""L1's format (arXiv 2503.04697): the prompt asks for a number of tokens, and the response is plain text."""

from dataclasses import dataclass

from budgetrl.formats.base import Example, Explanation, Parsed, ResponseFormat, require_budget_slot


@dataclass(frozen=True)
class PromptBudgetFormat(ResponseFormat):
    """No tags; the prompt asks for a number of tokens, in the sentence that L1 published.

    >>> PromptBudgetFormat().parse("2+3=5").well_formed
    True
    """

    name: str = "prompt_budget"
    instruction: str = (
        "Let's think step by step and output the final answer within \\boxed{}. Think for {budget} tokens."
    )

    budget_in = "prompt"

    def __post_init__(self) -> None:
        require_budget_slot(self)

    def parse(self, text: str) -> Parsed:
        return Parsed(bool(text.strip()), None, 0, len(text))

    def explain(self) -> Explanation:
        return Explanation("Put the number of tokens that it may use where the instruction says {budget}.")

    def example(self, longest: int) -> Example:
        budget = longest // 2
        return Example(budget=budget, note=f"budget {budget:,} tokens")
