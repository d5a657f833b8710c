"""How to load, prompt and serve what a run trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from budgetrl.formats.formats import AUTO
from budgetrl.report.reading import Run
from budgetrl.report.sections import Gap, Part, Section
from budgetrl.rewards.registry import reward_class


def serving(run: Run) -> Part:
    """How to load, prompt and serve the trained model."""
    title = "Use the model"
    checkpoint = _checkpoint(run)
    if checkpoint is None:
        return Gap(title, "there is no checkpoint")
    fmt = _trained_format(run.config)
    model = run.config.get("model", {})
    easy, _ = model.get("difficulty_tags") or ("[Easy]", "[Hard]")
    start = _STARTS.get(fmt, "").replace("[Easy]", easy)
    return Section(title, _SERVING.format(checkpoint=checkpoint, question=_question(model, fmt), start=start))


def _question(model: Mapping[str, Any], fmt: str) -> str:
    """What a user says, as Python."""
    wish = model.get(_WISHES[fmt])
    if not wish:
        return repr("...")
    budget = '.replace("{budget}", "200")' if fmt == "prompt_budget" else ""
    return repr(f"...\n\n{wish}") + budget


def _trained_format(config: Mapping[str, Any]) -> str:
    """The response format that GRPO asked for."""
    stage = config.get("stage", {})
    asked = stage.get("grpo", stage).get("format", AUTO)
    reward = config.get("reward", {}).get("name", "budget_cosine")
    if asked != AUTO:
        return asked
    return reward_class(reward).needs_format or "plain"


def _checkpoint(run: Run) -> Path | None:
    """The policy at the end of training, which is the one that was measured."""
    for stage in ("grpo", ""):  # a pipeline trains in a folder of its own, a training run in this one
        folder = run.path / stage / "checkpoints" / "last"
        if folder.is_dir():
            return folder
    return None


_WISHES = {
    "plain": "instruction",
    "budget": "budget_instruction",
    "prompt_budget": "prompt_budget_instruction",
    "difficulty": "difficulty_instruction",
}
_STARTS = {
    "budget": '# prompt += "<budget>200</budget>"  # to set the budget yourself\n',
    "difficulty": '# prompt += "[Easy]"  # for a brief answer\n',
}
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
