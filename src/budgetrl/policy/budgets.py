"""The budgets that a tokenizer can write."""

from transformers import PreTrainedTokenizerBase


def writable_budget(tokenizer: PreTrainedTokenizerBase, tokens: int, at_least: bool = False) -> int:
    """Return the budget nearest to `tokens` that the tokenizer can write; the smaller one if two are equally near.

    With `at_least`, return the nearest one that is not below `tokens`, or the largest one if all are below.
    """
    # Only the mini tokenizer has a grid: it has one token per budget, listed in its tokenizer_config.json. Any other
    # tokenizer writes every number as digits.
    grid = tokenizer.init_kwargs.get("budget_grid")
    if not grid:
        return tokens
    if at_least:
        return min((budget for budget in grid if budget >= tokens), default=max(grid))
    return min(grid, key=lambda budget: (abs(budget - tokens), budget))
