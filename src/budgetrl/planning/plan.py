"""What a run will do, worked out before it starts. Pure: reads a config, starts and writes nothing."""

import re
from collections.abc import Mapping
from typing import Any

from budgetrl.data.jsonl import count_rows
from budgetrl.data.mini.tasks import TASKS
from budgetrl.planning.memory import Memory, completion_room, device_memory, estimate, largest_of, settings_of
from budgetrl.planning.model_config import context_of, is_remote, longest_completion
from budgetrl.runs.machine import count_cores, count_gpus
from budgetrl.settings.config import Config, run_dir
from budgetrl.settings.rollout import OpenAISettings

Plan = dict[str, Any]


def make_plan(config: Config) -> Plan:
    """Sections of named numbers, and under `odd` a list of lines about what looks unintended."""
    ranks = config.launch.total_ranks()
    return {
        "run": _run_section(config),
        "stage": config.stage.plan(config.job()),
        "launch": _launch_section(config, ranks),
        **_where_the_model_is(config, ranks),
        "odd": [
            *config.stage.odd(config.job()),
            *config.reward.odd(),
            *_odd(config, ranks),
            *_foreign(config),
            *_unpinned(config),
            *_crowded(config),
            *_tight(config),
        ],
    }


def render_plan(plan: Plan) -> str:
    """The plan as an aligned block of text."""
    sections = {name: part for name, part in plan.items() if isinstance(part, Mapping)}
    width = max(len(str(key)) for part in sections.values() for key in part)
    lines: list[str] = []
    for name, part in sections.items():
        lines += [name, *_rows(part, width, "  ")]
    return "\n".join([*lines, *(f"odd: {line}" for line in plan["odd"])])


def _run_section(config: Config) -> Plan:
    return {
        "stage": config.stage.name,
        "model": f"{config.model.name} ({config.model.path})",
        "dataset": config.dataset.name,
        **({"rows of files": rows} if (rows := _rows_of_files(config)) else {}),
        **({"tokens of a completion, at most": longest} if (longest := largest_of(config, "max_new_tokens")) else {}),
        "reward": config.reward.name,
        "seed": config.seed,
        "folder": str(run_dir(config)),
    }


def _rows_of_files(config: Config) -> str:
    """Local JSONL files that are read, with their numbers of rows; of one that is not there the check has told."""
    reads = [spec.local_file(split) for spec, split in config.stage.reads(config.job()) if spec.source == "jsonl"]
    return ", ".join(f"{path.name} {count_rows(path):,}" for path in dict.fromkeys(filter(None, reads)))


def _crowded(config: Config) -> list[str]:
    """Settings whose completions leave the prompt too little of the model's context."""
    longest = settings_of(config, "max_new_tokens")
    context = context_of(config.model) if longest and config.stage.runs_model else None
    if context is None:
        return []
    return [
        f"{key}: {length} of the {context} tokens that the model can read leave too few for the prompt; "
        f"{longest_completion(context)} would do"
        for key, length in longest.items()
        if length > longest_completion(context)
    ]


def _launch_section(config: Config, ranks: int) -> Plan:
    here = config.launch.ranks_per_machine()
    machines = f" on {ranks // here} machines" if ranks > here else ""
    return {
        "launcher": config.launch.name,
        "ranks": f"{ranks}{machines}",
        "threads a rank": _threads(config),
    }


def _threads(config: Config) -> int | str:
    if config.launch.name == "slurm":
        return config.launch.threads or "as many as slurm gives a task"
    return config.launch.threads_per_rank()


def _where_the_model_is(config: Config, ranks: int) -> Plan:
    if not config.stage.runs_model:
        return {}
    if isinstance(config.rollout, OpenAISettings) and not _holds_model(config):
        server = config.rollout
        return {"server": {"url": server.url, "requests at once": server.concurrency * ranks}}
    return {"memory on each rank": _memory_section(config)}


def _holds_model(config: Config) -> bool:
    """Whether the model is on this machine's devices rather than behind a server."""
    return config.stage.trains or (config.stage.runs_model and not isinstance(config.rollout, OpenAISettings))


def _memory_section(config: Config) -> Plan:
    memory, there = estimate(config), device_memory(config.launch)
    if memory is None:
        return {"parameters": "unknown until the model is downloaded"}
    learning, writing = _in_passing(memory, config)
    parts = {**memory.state, "a micro-batch": learning, "keys and values, at most": writing}
    zero = f" at ZeRO stage {config.zero.stage}" if config.stage.trains else ""
    return {
        "parameters": memory.parameters,
        **{name: _readable(size) for name, size in parts.items() if size or name in memory.state},
        "together, at most": f"{_readable(memory.held() + max(learning, writing))}{zero}",
        "on the device": "not known here" if there is None else _readable(there),
    }


def _in_passing(memory: Memory, config: Config) -> tuple[int, int]:
    """Bytes for a micro-batch, and for the writing of completions, which is never at the same time."""
    longest = largest_of(config, "max_new_tokens")
    writing = memory.writing(config.rollout.batch_size, completion_room(config)) if longest else 0
    return memory.learning(largest_of(config, "tokens_per_device")), writing


def _tight(config: Config) -> list[str]:
    """Whether the memory of a device will not do, as far as both are known."""
    memory, there = (estimate(config), device_memory(config.launch)) if _holds_model(config) else (None, None)
    if memory is None or there is None:
        return []
    needed = memory.held() + max(_in_passing(memory, config))
    if needed <= there:
        return []
    return [
        f"memory: {_readable(needed)} are needed at most, and a rank has {_readable(there)}; lower "
        "stage.tokens_per_device or rollout.batch_size, add ranks with zero=stage2 or stage3, or offload"
    ]


def _odd(config: Config, ranks: int) -> list[str]:
    launch, gpus, cores = config.launch, count_gpus(), count_cores()
    here = launch.ranks_per_machine() * launch.at_once
    local = launch.name != "slurm"
    as_text = isinstance(config.rollout, OpenAISettings) and config.rollout.prompts == "text"
    drawn = getattr(config.stage, "temperature", 0) > 0
    threads = here * (launch.threads or 1)
    findings = {
        "rollout.prompts: text leaves sampling to the server, and transformers serve is greedy at any temperature "
        "unless the model's generation_config.json has do_sample": as_text and drawn,
        f"zero: stage {config.zero.stage} has nothing to cut up on one rank": config.zero.stage > 0 and ranks == 1,
        f"launch.ranks: {here} ranks share {gpus} GPUs": local and 0 < gpus < here,
        f"launch: {threads} threads share {cores} cores": local and threads > cores,
    }
    return [line for line, holds in findings.items() if holds]


def _foreign(config: Config) -> list[str]:
    """The mini model's settings for problems that are of no generated task."""
    sources = {spec.source for spec, _ in config.stage.reads(config.job())}
    if not config.stage.runs_model or config.model.name not in TASKS or sources <= TASKS.keys():
        return []
    return [
        f"model: {config.model.name} has the instructions of a generated task, and the problems are of none; for a "
        "model of your own say model=hf, and how long its answers may be (max_new_tokens)"
    ]


def _unpinned(config: Config) -> list[str]:
    """Models and data sets of the Hub that are not read at one commit, and so may be others tomorrow."""
    notes: dict[str, None] = {}  # in order, each once: two splits may come from one repository
    model = config.model
    if config.stage.runs_model and is_remote(model) and not _is_commit(model.revision):
        notes[_not_pinned("model.revision", model.name, model.revision)] = None
    for spec, split in config.stage.reads(config.job()):
        key = "eval_revision" if spec.source_key(split) == "eval_path" else "revision"
        revision = getattr(spec, key)
        if spec.source == "hub" and spec.local_file(split) is None and not _is_commit(revision):
            notes[_not_pinned(f"dataset.{key}", spec.name, revision)] = None
    return list(notes)


def _is_commit(revision: str | None) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None


def _not_pinned(key: str, name: str, revision: str | None) -> str:
    now = f"at {revision}" if revision else "at its newest version"
    return f"{key}: {name} is read {now}, which may change: pin the commit that you have"


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
