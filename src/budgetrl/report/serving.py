"""The report section on loading, prompting and serving the trained model."""

import json
from pathlib import Path

from budgetrl.formats.base import BUDGET_SLOT, ResponseFormat
from budgetrl.formats.learned import LEARNED_FILE, read_learned_format
from budgetrl.report.reading import Run
from budgetrl.report.sections import MissingSection, ReportPart, Section
from budgetrl.runs.parts import GRPO


def serving(run: Run) -> ReportPart:
    """Return how to load, prompt and serve the trained model, in the response format that its checkpoint learned."""
    title = "Use the model"
    checkpoint = _checkpoint(run)
    if checkpoint is None:
        return MissingSection(title, "there is no checkpoint")
    learned = read_learned_format(checkpoint)
    if learned is None:
        return MissingSection(title, f"the checkpoint has no {LEARNED_FILE}, so its response format is not known")
    fmt = learned.format
    body = _SERVING.format(checkpoint=checkpoint, question=_question(fmt), start=_start(fmt))
    return Section(title, body)


def _question(fmt: ResponseFormat) -> str:
    """Return the user message as a Python expression; "..." stands for the problem."""
    if not fmt.instruction:
        return repr("...")
    # An instruction with a slot for a budget gets an example of 200 tokens.
    budget = f'.replace("{BUDGET_SLOT}", "200")' if BUDGET_SLOT in fmt.instruction else ""
    return repr(f"...\n\n{fmt.instruction}") + budget


def _start(fmt: ResponseFormat) -> str:
    """Return a commented-out line of Python that pre-fills the start of the response; empty if the format has none."""
    explained = fmt.explain()
    if not explained.start:
        return ""
    return f"# prompt += {json.dumps(explained.start)}  # {explained.purpose}\n"


def _checkpoint(run: Run) -> Path | None:
    """Return the folder of the final checkpoint, which is the one that was evaluated, or None."""
    for stage in (GRPO, ""):  # a pipeline trains in a subfolder, a training run in its own folder
        folder = run.path / stage / "checkpoints" / "last"
        if folder.is_dir():
            return folder
    return None


_SERVING = """\
`{checkpoint}` is a standard Hugging Face model folder:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "{checkpoint}"
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
question = [{{"role": "user", "content": {question}}}]
prompt = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
{start}inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=4096)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :]))
```

To serve it, run `vllm serve {checkpoint}` and send
`question` to `/v1/chat/completions` or `prompt` to `/v1/completions`."""
