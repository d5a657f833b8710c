"""The model card (README.md) of a checkpoint."""

from budgetrl.formats.base import ResponseFormat
from budgetrl.settings.model import ModelSettings


def model_card(model: ModelSettings, fmt: ResponseFormat, dataset: str, seed: int, run: str) -> str:
    """Return a model card: how the checkpoint was made, and how to prompt it in the format that it learned."""
    instruction, response = fmt.instruction.strip(), fmt.explain().response
    prompt = _INSTRUCTED.format(instruction=instruction) if instruction else "The prompt is the question alone."
    return _CARD.format(
        model=model.name,
        source=model.path,
        dataset=dataset,
        seed=seed,
        run=run,
        prompt=prompt,
        response=f"\n{response}\n" if response else "",
    )


_CARD = """---
library_name: transformers
tags: [budgetrl]
---
# {model}, stage {run}

Trained by budgetrl from `{source}` on `{dataset}` with seed {seed}. The run folder has all settings in `config.yaml`;
its `launch.sh` repeats the run. `budgetrl.json` holds the response format for `stage=evaluate`.

## Prompt

{prompt}
{response}"""

_INSTRUCTED = """The prompt is the question, a blank line, and this instruction:

~~~text
{instruction}
~~~
"""
