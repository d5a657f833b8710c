"""The plan of a run: what it will do, computed from its configuration. Starts nothing and writes nothing."""

from collections.abc import Mapping
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

from budgetrl.core.messages import Message
from budgetrl.core.workload import Workload
from budgetrl.data.mini.generated import model_warnings
from budgetrl.data.sources.hub import pin_warnings
from budgetrl.planning.memory import Memory, estimate_memory, longest_sequence
from budgetrl.planning.model_config import context_length, longest_completion
from budgetrl.runs.machine import count_cores, count_gpus
from budgetrl.settings.checkpoint import is_remote, path_error
from budgetrl.settings.config import Config, run_dir
from budgetrl.settings.stages.base import format_warnings

Plan = dict[str, Any]

GENERATED, TRAINED = "generated, at most", "trained on, at most"
"""Keys of the plan's section `tokens`."""
MEMORY = "memory per rank"
"""The plan's section about memory. Missing if the model is on a server."""


def make_plan(config: Config) -> Plan:
    """Return the plan: sections of labeled values, and a list of `warnings`.

    For example {"run": {"stage": "grpo", ...}, "tokens": {...}, ..., "warnings": ["zero: ..."]}.
    """
    work, ranks = config.stage.workload(config), config.launch.total_ranks()
    return {
        "run": _run_section(config, work),
        "stage": dict(work.summary),
        "tokens": _tokens_section(work),
        "launch": _launch_section(config, ranks),
        **_model_section(config, work, ranks),
        "warnings": [str(message) for message in warnings(config, work, ranks)],
    }


def warnings(config: Config, work: Workload, ranks: int) -> list[Message]:
    """Return warnings about settings that work but are probably not intended."""
    return [
        *config.stage.warnings(config),
        *format_warnings(config),
        *config.reward.warnings(),
        *_launch_warnings(config, work, ranks),
        *_task_warnings(config, work),
        *_path_warnings(config, work),
        *_pin_warnings(config, work),
        *_context_warnings(config, work),
        *_memory_warnings(config, work),
    ]


def render_plan(plan: Plan) -> str:
    """Return the plan as a block of text, with the values of all sections in one column."""
    sections = {name: part for name, part in plan.items() if isinstance(part, Mapping) and part}
    width = max(len(str(label)) for label in chain.from_iterable(sections.values()))
    lines: list[str] = []
    for name, part in sections.items():
        lines += [name, *_rows(part, width, "  ")]
    for warning in plan["warnings"]:
        lines.append(f"warning: {warning}")
    return "\n".join(lines)


def _run_section(config: Config, work: Workload) -> Plan:
    section: Plan = {
        "stage": config.stage.name,
        "model": f"{config.model.name} ({config.model.path})",
        "dataset": config.dataset.name,
    }
    if rows := _rows_of_files(config):
        section["rows in files"] = rows
    if work.longest_completion:
        section["tokens per completion, at most"] = work.longest_completion
    if work.generates and (decoding := _decoding(config)) != "sampling":
        section["decoding"] = decoding
    return section | {"reward": config.reward.name, "seed": config.seed, "folder": str(run_dir(config))}


def _decoding(config: Config) -> str:
    """Return the decoding method and the settings that are not its defaults, such as `sampling, top_p 0.9`."""
    method, words = config.decoding, [config.decoding.name]
    for field in fields(method):
        value = getattr(method, field.name)
        if field.name != "name" and value != field.default:
            words.append(f"{field.name} {value}")
    return ", ".join(words)


def _rows_of_files(config: Config) -> str:
    """Return the local data files and their numbers of rows, such as "train.jsonl 7,473". Skips missing files."""
    files: dict[Path, int] = {}
    for dataset, split in config.stage.dataset_splits(config):
        files |= dataset.rows_of_files(split)
    return ", ".join(f"{path.name} {rows:,}" for path, rows in files.items())


def _tokens_section(work: Workload) -> Plan:
    """Return the numbers of response tokens, which determine the cost. Prompts are not counted."""
    section: Plan = {}
    for label, count in ((GENERATED, work.tokens_generated), (TRAINED, work.tokens_trained)):
        if count != 0:
            section[label] = "not known" if count is None else count
    return section


def _launch_section(config: Config, ranks: int) -> Plan:
    here = config.launch.ranks_per_machine()
    machines = f" on {ranks // here} machines" if ranks > here else ""
    return {
        "launcher": config.launch.name,
        "ranks": f"{ranks}{machines}",
        "threads per rank": config.launch.planned_threads(),
    }


def _model_section(config: Config, work: Workload, ranks: int) -> Plan:
    """Return the section about memory, or about the server that has the model."""
    if not work.uses_model:
        return {}
    if _holds_model(config, work):
        return {MEMORY: _memory_section(config, work)}
    return {"server": config.rollout.server(ranks)}


def _holds_model(config: Config, work: Workload) -> bool:
    """Return whether the run loads the model onto its own devices, rather than using a server."""
    return work.trains or (work.generates and config.rollout.capabilities.local)


def _memory_section(config: Config, work: Workload) -> Plan:
    memory, available = estimate_memory(config), config.launch.device_memory()
    if memory is None:
        return {"parameters": "unknown until the model is downloaded"}
    section: Plan = {"parameters": memory.parameters}
    for label, size in memory.state.items():
        section[label] = _readable(size)
    training, generating = _temporary_bytes(memory, config, work)
    if training:
        section["micro-batch"] = _readable(training)
    if generating:
        section["KV cache, at most"] = _readable(generating)
    zero = f" at ZeRO stage {config.zero.stage}" if work.trains else ""
    # A run never trains and generates at the same time, so only the larger of the two counts.
    section["total, at most"] = f"{_readable(memory.total_state() + max(training, generating))}{zero}"
    section["available on the device"] = "not known here" if available is None else _readable(available)
    return section


def _temporary_bytes(memory: Memory, config: Config, work: Workload) -> tuple[int, int]:
    """Return the memory that a micro-batch needs, and the memory that generation needs."""
    rows = config.rollout.completions_at_once
    generating = memory.for_generation(rows, longest_sequence(work)) if work.longest_completion else 0
    return memory.for_micro_batch(work.largest_micro_batch), generating


def _memory_warnings(config: Config, work: Workload) -> list[Message]:
    """Warn if a run may need more memory than a device has. Empty if either number is not known."""
    if not _holds_model(config, work):
        return []
    memory, available = estimate_memory(config), config.launch.device_memory()
    if memory is None or available is None:
        return []
    needed = memory.total_state() + max(_temporary_bytes(memory, config, work))
    if needed <= available:
        return []
    text = f"a rank may need {_readable(needed)}, but has {_readable(available)}"
    hint = "lower stage.tokens_per_device or rollout.batch_size, add ranks with zero=stage2 or stage3, or offload"
    return [Message("memory", text, hint)]


def _context_warnings(config: Config, work: Workload) -> list[Message]:
    """Warn about token limits that leave too little of the model's context for the prompt."""
    context = context_length(config.model) if work.completion_limits else None
    if context is None:
        return []
    maximum = longest_completion(context)
    found: list[Message] = []
    for key, length in work.completion_limits.items():
        if length > maximum:
            text = f"{length} leaves too little of the model's context of {context} tokens for the prompt"
            found.append(Message(key, text, f"use {maximum} or less"))
    return found


def _launch_warnings(config: Config, work: Workload, ranks: int) -> list[Message]:
    """Warn about ranks that share GPUs or cores, and about settings of ZeRO and rollouts."""
    launch, found = config.launch, []
    if config.zero.stage > 0 and ranks == 1:
        text = f"stage {config.zero.stage} has nothing to shard with one rank"
        found.append(Message("zero", text, "use zero=stage0, unless you offload"))
    found += [*config.rollout.warnings(work.temperature)]
    if launch.is_submitted:
        return found  # this machine does not know the GPUs and cores of the nodes
    ranks_here = launch.ranks_per_machine() * launch.jobs_at_once()
    threads = ranks_here * (launch.threads or 1)
    gpus, cores = count_gpus(), count_cores()
    if 0 < gpus < ranks_here:
        found.append(Message("launch.ranks", f"{ranks_here} ranks share {gpus} GPUs"))
    if threads > cores:
        found.append(Message("launch", f"{threads} threads share {cores} cores"))
    return found


def _task_warnings(config: Config, work: Workload) -> list[Message]:
    """Warn if the model's settings are made for problems of another kind."""
    if not work.uses_model:
        return []
    return model_warnings(config.model.name, [dataset for dataset, _ in config.stage.dataset_splits(config)])


def _path_warnings(config: Config, work: Workload) -> list[Message]:
    """Return a warning if the model is not there yet. Only a plan comes here without it; a run is refused before."""
    if not work.uses_model or not path_error(config.model):
        return []
    text = f"there is no folder {config.model.path}, and it cannot be a name on the Hub"
    return [Message("model.path", text, "fix the path, unless another run is still to write it")]


def _pin_warnings(config: Config, work: Workload) -> list[Message]:
    """Warn about Hub models and data sets without a fixed commit: they can change between runs."""
    found: list[Message] = []
    model = config.model
    if work.uses_model and is_remote(model) and not path_error(model):
        found += pin_warnings("model.revision", model.path, model.revision)
    for dataset, split in config.stage.dataset_splits(config):
        found += [message.below("dataset") for message in dataset.unpinned(split)]
    return list(dict.fromkeys(found))  # no duplicates: both splits may be in one repository


def _rows(part: Mapping[str, Any], width: int, indent: str) -> list[str]:
    """Return a section as aligned lines. Nested sections are indented further."""
    lines: list[str] = []
    for key, value in part.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", *_rows(value, width - 2, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{max(width, 1)}}  {_text(value)}")  # deep nesting may use up the width
    return lines


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _readable(size: float) -> str:
    """Return a size in bytes with a unit.

    >>> _readable(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
