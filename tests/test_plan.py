"""The plan: memory, warnings and what is shown before a run starts."""

import pytest

import fake_stage
from budgetrl.core.workload import Workload
from budgetrl.planning import memory
from budgetrl.planning.memory import bytes_per_rank
from budgetrl.planning.plan import make_plan
from budgetrl.settings.config import load_config
from budgetrl.settings.zero import ZeroSettings


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "optimizer"),
    [(0, 2000, 2000, 12000), (1, 2000, 2000, 3000), (2, 2000, 500, 3000), (3, 500, 500, 3000)],
)
def test_training_state_of_1000_bf16_parameters_on_4_ranks(
    stage: int, weights: int, gradients: int, optimizer: int
) -> None:
    sizes = {"weights": weights, "gradients": gradients, "optimizer": optimizer}
    assert bytes_per_rank(ZeroSettings(stage), 1000, True, 4) == sizes
    whole = {"full weights for generation": 2000} if stage == 3 else {}
    assert bytes_per_rank(ZeroSettings(stage), 1000, True, 4, rollouts=True) == sizes | whole
    assert bytes_per_rank(ZeroSettings(stage), 1000, True, 4, reference=True) == sizes | {"reference model": 2000}


@pytest.mark.parametrize(
    ("rollouts", "reference", "together"),
    [(False, False, 16), (True, False, 20), (True, True, 24)],  # float32: 4 weights, 4 gradients, 8 Adam
)
def test_memory_counts_the_weights_that_rollouts_and_the_kl_penalty_need(
    monkeypatch: pytest.MonkeyPatch, rollouts: bool, reference: bool, together: int
) -> None:
    monkeypatch.setattr(memory, "count_parameters", lambda _: 1)
    work = Workload(trains=True, generates=rollouts, generates_in_training=rollouts, holds_reference=reference)
    monkeypatch.setattr(fake_stage.FakeStage, "workload", lambda stage, config: work)
    parts = {"stage": {"name": "fake_stage.FakeStage"}, "reward": {"name": "accuracy"}}
    parts |= {"model": {"dtype": "float32"}}
    parts |= {"zero": {"stage": 3}, "launch": {"ranks": 1}}
    needed = memory.estimate_memory(load_config(parts))
    assert needed is not None
    assert needed.total_state() == together


def test_a_model_that_is_not_here_is_planned_with_the_size_it_is_said_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "count_parameters", lambda _: None)
    parts = {"stage": {"name": "evaluate"}, "reward": {"name": "accuracy"}, "launch": {"ranks": 1}}
    unknown = make_plan(load_config(parts | {"model": {"dtype": "bfloat16"}}))["memory per rank"]
    assert unknown == {"parameters": "unknown until the model is downloaded"}
    known = make_plan(load_config(parts | {"model": {"dtype": "bfloat16", "parameters": 512}}))["memory per rank"]
    assert (known["parameters"], known["weights"]) == (512, "1 KiB")
    assert "gradients" not in known  # nothing is trained


@pytest.mark.parametrize(
    ("path", "revision", "told"),
    [
        ("a/b", "main", "at main"),
        ("a/b", None, "at its newest version"),
        ("a/b", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a", None),
        ("./b", None, None),
    ],
)
def test_a_hub_data_set_that_is_not_pinned_is_warned_of(path: str, revision: str | None, told: str | None) -> None:
    dataset = {"name": "b", "source": "hub", "path": path, "revision": revision, "split": "train", "held_out": 9}
    parts = {"stage": {"name": "grpo"}, "reward": {"name": "accuracy"}, "dataset": dataset}
    notes = [line for line in make_plan(load_config(parts))["warnings"] if line.startswith("dataset.revision: ")]
    said = f"dataset.revision: b is loaded {told}, which may change; pin a commit"
    assert notes == ([said] if told else [])


@pytest.mark.parametrize(("prompts", "temperature", "told"), [("text", 1.0, 1), ("text", 0.0, 0), ("ids", 1.0, 0)])
def test_a_server_that_may_not_sample_is_warned_of(prompts: str, temperature: float, told: int) -> None:
    parts = {"stage": {"name": "evaluate", "temperature": temperature}, "reward": {"name": "accuracy"}}
    parts |= {"rollout": {"name": "openai", "prompts": prompts}, "launch": {"ranks": 1, "threads": 1}}
    made = make_plan(load_config(parts))
    assert (
        sum(line.startswith("rollout.prompts: transformers serve decodes greedily") for line in made["warnings"])
        == told
    )
    assert "server" in made
    assert "memory per rank" not in made


@pytest.mark.parametrize(("path", "revision", "told"), [("a/b", None, 1), ("a/b", "f" * 40, 0), ("mini", None, 0)])
def test_a_hub_model_that_is_not_pinned_is_warned_of(path: str, revision: str | None, told: int) -> None:
    model = {"path": path, "revision": revision}
    plan = make_plan(load_config({"stage": {"name": "grpo"}, "reward": {"name": "accuracy"}, "model": model}))
    assert sum(line.startswith(f"model.revision: {path} is loaded") for line in plan["warnings"]) == told


@pytest.mark.parametrize(("stage", "named"), [("cold_start", True), ("pretrain", True), ("grpo", False)])
def test_a_plan_names_the_objective_of_supervised_training(stage: str, named: bool) -> None:
    plan = make_plan(load_config({"stage": {"name": stage}, "reward": {"name": "accuracy"}}))
    assert plan["stage"].get("objective") == ("supervised" if named else None)


def test_a_plan_for_a_checkpoint_that_is_not_there_names_its_path() -> None:
    model = {"path": "runs/a/checkpoints/last"}
    mapping = {"stage": {"name": "grpo"}, "reward": {"name": "accuracy"}, "model": model, "mode": "dry"}
    warnings = make_plan(load_config(mapping))["warnings"]
    assert [line for line in warnings if line.startswith("model")] == [
        "model.path: there is no folder runs/a/checkpoints/last, and it cannot be a name on the Hub; "
        "fix the path, unless another run is still to write it"
    ]


@pytest.mark.parametrize(("gpu_memory", "said"), [(None, "not known here"), (80.0, "80 GiB")])
def test_slurms_gpus_are_as_large_as_they_are_said_to_be(gpu_memory: float | None, said: str) -> None:
    launch = {"name": "slurm", "ranks": 8, "gpu_memory": gpu_memory}
    plan = make_plan(load_config({"stage": {"name": "grpo"}, "reward": {"name": "accuracy"}, "launch": launch}))
    assert plan["memory per rank"]["available on the device"] == said
    assert plan["launch"]["threads per rank"] == "as many as slurm gives a task"


@pytest.mark.parametrize(
    ("model", "source", "told"), [("mini", "hub", 1), ("hf", "hub", 0), ("mini", "mini_tradeoff", 0)]
)
def test_the_mini_models_settings_for_problems_of_no_generated_task_are_warned_of(
    model: str, source: str, told: int
) -> None:
    dataset = {"name": "b", "source": source} | (
        {"path": "a/b", "split": "train", "held_out": 9} if source == "hub" else {}
    )
    parts = {"stage": {"name": "evaluate"}, "reward": {"name": "accuracy"}, "dataset": dataset}
    plan = make_plan(load_config(parts | {"model": {"name": model}}))
    assert sum(line.startswith("model: model=mini is set up for generated tasks") for line in plan["warnings"]) == told
