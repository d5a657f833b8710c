"""What a run will do, worked out before it starts. Pure: reads a config, starts and writes nothing."""

from collections.abc import Mapping
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


def make_plan(config: Config) -> Plan:
    """Sections of named numbers, and under `warnings` a line for each thing that looks unintended."""
    work, ranks = config.stage.workload(config), config.launch.total_ranks()
    return {
        "run": _run_section(config, work),
        "stage": dict(work.summary),
        "tokens": _tokens_section(work),
        "launch": _launch_section(config, ranks),
        **_where_the_model_is(config, work, ranks),
        "warnings": [str(message) for message in warnings(config, work, ranks)],
    }


def warnings(config: Config, work: Workload, ranks: int) -> list[Message]:
    """What works but looks unintended."""
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
    """The plan as an aligned block of text."""
    sections = {name: part for name, part in plan.items() if isinstance(part, Mapping) and part}
    width = max(len(str(key)) for part in sections.values() for key in part)
    lines: list[str] = []
    for name, part in sections.items():
        lines += [name, *_rows(part, width, "  ")]
    return "\n".join([*lines, *(f"warning: {line}" for line in plan["warnings"])])


def _run_section(config: Config, work: Workload) -> Plan:
    section: Plan = {
        "stage": config.stage.name,
        "model": f"{config.model.name} ({config.model.path})",
        "dataset": config.dataset.name,
    }
    if rows := _rows_of_files(config):
        section["rows of files"] = rows
    if work.longest_completion:
        section["tokens of a completion, at most"] = work.longest_completion
    return section | {"reward": config.reward.name, "seed": config.seed, "folder": str(run_dir(config))}


def _rows_of_files(config: Config) -> str:
    """Local files that are read, with their numbers of rows; of one that is not there the check has told."""
    files: dict[Path, int] = {}
    for dataset, split in config.stage.dataset_splits(config):
        files |= dataset.rows_of_files(split)
    return ", ".join(f"{path.name} {rows:,}" for path, rows in files.items())


def _tokens_section(work: Workload) -> Plan:
    """Tokens of responses, from which a cost follows; prompts are not counted."""
    counts = {GENERATED: work.tokens_generated, TRAINED: work.tokens_trained}
    return {name: "not known" if count is None else count for name, count in counts.items() if count != 0}


GENERATED, TRAINED = "generated, at most", "trained on, at most"


def _launch_section(config: Config, ranks: int) -> Plan:
    here = config.launch.ranks_per_machine()
    machines = f" on {ranks // here} machines" if ranks > here else ""
    return {
        "launcher": config.launch.name,
        "ranks": f"{ranks}{machines}",
        "threads a rank": config.launch.planned_threads(),
    }


def _where_the_model_is(config: Config, work: Workload, ranks: int) -> Plan:
    if not work.uses_model:
        return {}
    if _holds_model(config, work):
        return {"memory on each rank": _memory_section(config, work)}
    return {"server": config.rollout.server(ranks)}


def _holds_model(config: Config, work: Workload) -> bool:
    """Whether the model is on this machine's devices rather than behind a server."""
    return work.trains or (work.generates and config.rollout.capabilities.local)


def _memory_section(config: Config, work: Workload) -> Plan:
    memory, there = estimate_memory(config), config.launch.device_memory()
    if memory is None:
        return {"parameters": "unknown until the model is downloaded"}
    training, generating = _in_passing(memory, config, work)
    parts = {**memory.state, "a micro-batch": training, "keys and values, at most": generating}
    zero = f" at ZeRO stage {config.zero.stage}" if work.trains else ""
    return {
        "parameters": memory.parameters,
        **{name: _readable(size) for name, size in parts.items() if size or name in memory.state},
        "together, at most": f"{_readable(memory.total_state() + max(training, generating))}{zero}",
        "on the device": "not known here" if there is None else _readable(there),
    }


def _in_passing(memory: Memory, config: Config, work: Workload) -> tuple[int, int]:
    """Bytes for a micro-batch, and for generating completions, which is never at the same time."""
    rows = config.rollout.completions_at_once
    generating = memory.for_generation(rows, longest_sequence(work)) if work.longest_completion else 0
    return memory.for_micro_batch(work.largest_micro_batch), generating


def _memory_warnings(config: Config, work: Workload) -> list[Message]:
    """Whether the memory of a device will not do, as far as both are known."""
    if not _holds_model(config, work):
        return []
    memory, there = estimate_memory(config), config.launch.device_memory()
    if memory is None or there is None:
        return []
    needed = memory.total_state() + max(_in_passing(memory, config, work))
    if needed <= there:
        return []
    text = f"{_readable(needed)} are needed at most, and a rank has {_readable(there)}"
    hint = "lower stage.tokens_per_device or rollout.batch_size, add ranks with zero=stage2 or stage3, or offload"
    return [Message("memory", text, hint)]


def _context_warnings(config: Config, work: Workload) -> list[Message]:
    """Settings whose completions leave the prompt too little of the model's context."""
    context = context_length(config.model) if work.completion_limits else None
    if context is None:
        return []
    room = longest_completion(context)
    return [
        Message(
            key,
            f"{length} of the {context} tokens that the model can read leave too few for the prompt",
            f"{room} would do",
        )
        for key, length in work.completion_limits.items()
        if length > room
    ]


def _launch_warnings(config: Config, work: Workload, ranks: int) -> list[Message]:
    launch, found = config.launch, []
    if config.zero.stage > 0 and ranks == 1:
        found.append(Message("zero", f"stage {config.zero.stage} has nothing to cut up on one rank"))
    found += [*config.rollout.warnings(work.temperature)]
    if launch.is_submitted:
        return found  # what the nodes have cannot be seen from here
    here, gpus, cores = launch.ranks_per_machine() * launch.jobs_at_once(), count_gpus(), count_cores()
    threads = here * (launch.threads or 1)
    if 0 < gpus < here:
        found.append(Message("launch.ranks", f"{here} ranks share {gpus} GPUs"))
    if threads > cores:
        found.append(Message("launch", f"{threads} threads share {cores} cores"))
    return found


def _task_warnings(config: Config, work: Workload) -> list[Message]:
    """Whether the model's settings are for problems of another kind."""
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
    """Models and data sets of the Hub that are not read at one commit, and so may be others tomorrow."""
    found: list[Message] = []
    model = config.model
    if work.uses_model and is_remote(model) and not path_error(model):
        found += pin_warnings("model.revision", model.path, model.revision)
    for dataset, split in config.stage.dataset_splits(config):
        found += [message.below("dataset") for message in dataset.unpinned(split)]
    return list(dict.fromkeys(found))  # each once: two splits may come from one repository


def _rows(part: Mapping[str, Any], width: int, indent: str) -> list[str]:
    """Aligned `key value` lines; a section within the section is indented further."""
    lines: list[str] = []
    for key, value in part.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", *_rows(value, width - 2, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{max(width, 1)}}  {_text(value)}")
    return lines


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _readable(size: float) -> str:
    """
    >>> _readable(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
