"""README.md of a checkpoint."""

from budgetrl.formats.base import ResponseFormat
from budgetrl.settings.model import ModelSettings


def model_card(model: ModelSettings, fmt: ResponseFormat, dataset: str, seed: int, run: str) -> str:
    """Where a checkpoint comes from, and how it was asked in the format that it learned."""
    asked, response = fmt.instruction.strip(), fmt.explain().response
    prompt = _INSTRUCTED.format(asked=asked) if asked else "The prompt is the question alone."
    made = {"model": model.name, "source": model.path, "dataset": dataset, "seed": seed, "run": run}
    return _CARD.format(**made, prompt=prompt, response=f"\n{response}\n" if response else "")


_CARD = """---
library_name: transformers
tags: [budgetrl]
---
# {model}, stage {run}

Made by budgetrl from `{source}` on `{dataset}` with seed {seed}. `config.yaml` and `launch.sh` of the run
folder say exactly how; `budgetrl.json` holds the response format for `stage=evaluate`.

## Asking it

{prompt}
{response}"""

_INSTRUCTED = """The prompt is the question, and below it, after a blank line:

~~~text
{asked}
~~~
"""
