"""How to load, prompt and serve what a run trained."""

import json
from pathlib import Path

from budgetrl.formats.base import BUDGET_SLOT, ResponseFormat
from budgetrl.formats.learned import LEARNED_FILE, read_learned_format
from budgetrl.report.reading import Run
from budgetrl.report.sections import MissingSection, ReportPart, Section
from budgetrl.runs.parts import GRPO


def serving(run: Run) -> ReportPart:
    """How to load, prompt and serve the trained model, in the format that its checkpoint learned."""
    title = "Use the model"
    checkpoint = _checkpoint(run)
    if checkpoint is None:
        return MissingSection(title, "there is no checkpoint")
    learned = read_learned_format(checkpoint)
    if learned is None:
        return MissingSection(title, f"there is no {LEARNED_FILE} beside the checkpoint, so how to ask it is not known")
    fmt = learned.format
    body = _SERVING.format(checkpoint=checkpoint, question=_question(fmt), start=_start(fmt))
    return Section(title, body)


def _question(fmt: ResponseFormat) -> str:
    """What a user says, as Python."""
    if not fmt.instruction:
        return repr("...")
    budget = f'.replace("{BUDGET_SLOT}", "200")' if BUDGET_SLOT in fmt.instruction else ""
    return repr(f"...\n\n{fmt.instruction}") + budget


def _start(fmt: ResponseFormat) -> str:
    """A line of Python that gives the start of the response, as a comment; empty where there is none to give."""
    explained = fmt.explain()
    return f"# prompt += {json.dumps(explained.start)}  # {explained.purpose}\n" if explained.start else ""


def _checkpoint(run: Run) -> Path | None:
    """The policy at the end of training, which is the one that was measured."""
    for stage in (GRPO, ""):  # a pipeline trains in a folder of its own, a training run in this one
        folder = run.path / stage / "checkpoints" / "last"
        if folder.is_dir():
            return folder
    return None


_SERVING = """\
`{checkpoint}` is an ordinary Hugging Face folder:

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

To serve it: `vllm serve {checkpoint}`, then send
`question` to `/v1/chat/completions` or `prompt` to `/v1/completions`."""
