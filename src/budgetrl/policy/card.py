"""README.md of a checkpoint."""

from budgetrl.formats.formats import ResponseFormat
from budgetrl.settings.model import ModelSettings


def model_card(model: ModelSettings, fmt: ResponseFormat, dataset: str, seed: int, run: str) -> str:
    """Where a checkpoint comes from, and how it was asked in the format that it learned."""
    asked = model.instructions(fmt)
    prompt = _INSTRUCTED.format(asked=asked.strip()) if asked else "The prompt is the question alone."
    starts = _STARTS.get(fmt.name, "").format(tags=" or ".join(f"`{tag}`" for tag in model.difficulty_tags))
    made = {"model": model.name, "source": model.path, "dataset": dataset, "seed": seed, "run": run}
    return _CARD.format(**made, prompt=prompt, starts=starts)


_CARD = """---
library_name: transformers
tags: [budgetrl]
---
# {model}, stage {run}

Made by budgetrl from `{source}` on `{dataset}` with seed {seed}. `config.yaml` and `launch.sh` of the run
folder say exactly how.

## Asking it

{prompt}
{starts}"""

_INSTRUCTED = """The prompt is the question, and below it, after a blank line:

~~~text
{asked}
~~~
"""

_STARTS = {
    "budget": """
The response is `<budget>b</budget><solution>...</solution>`: the budget comes before any thinking.
To set the length yourself, let the response begin with `<budget>b</budget>`, b in tokens.
""",
    "difficulty": """
The response begins with {tags}, before any thinking.
""",
    "prompt_budget": """
Put the number of tokens that it may use where the instruction says {{budget}}.
""",
}
"""What there is to know about the start of a response, by format."""
