"""Which budgets a tokenizer can write."""

from transformers import PreTrainedTokenizerBase


def writable_budget(tokenizer: PreTrainedTokenizerBase, tokens: int, at_least: bool = False) -> int:
    """The nearest budget that the tokenizer can write, and the smaller of two equally near ones.

    A tokenizer can write any number, unless its `tokenizer_config.json` lists those that it can under `budget_grid`.
    With `at_least` it is the nearest one that is not below `tokens`, or the largest there is.
    """
    grid = tokenizer.init_kwargs.get("budget_grid")
    if not grid:
        return tokens
    if at_least:
        return min((n for n in grid if n >= tokens), default=max(grid))
    return min(grid, key=lambda n: (abs(n - tokens), n))
