"""L1's format (arXiv 2503.04697): the prompt asks for a number of tokens, and the response is plain text."""

from dataclasses import dataclass

from budgetrl.formats.base import Example, Explanation, Parsed, ResponseFormat, require_budget_slot


@dataclass(frozen=True)
class PromptBudgetFormat(ResponseFormat):
    """No tags. The prompt asks for a number of tokens with the sentence that L1 published.

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
        # The budget is None here: it is in the prompt, so the grader takes it from the request.
        return Parsed(bool(text.strip()), None, 0, len(text))

    def explain(self) -> Explanation:
        return Explanation("Replace {budget} in the instruction with the number of tokens that the model may use.")

    def example(self, longest: int) -> Example:
        budget = longest // 2
        return Example(budget=budget, note=f"budget {budget:,} tokens")
