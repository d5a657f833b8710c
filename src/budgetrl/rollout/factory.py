"""From the `rollout` group to an engine."""

from torch import nn

from budgetrl.rollout.engine import RolloutEngine, RolloutSpec
from budgetrl.rollout.native import NativeEngine
from budgetrl.rollout.transformers_engine import TransformersEngine

ENGINES = {"native": NativeEngine, "transformers": TransformersEngine}


def make_engine(spec: RolloutSpec, model: nn.Module) -> RolloutEngine:
    """The engine `spec` names, on the weights of `model`. Raises ValueError for an unknown name or a
    batch size below 1, and for a model the engine cannot run."""
    if spec.name not in ENGINES:
        raise ValueError(f"rollout.name={spec.name} is unknown: choose one of {', '.join(ENGINES)}")
    if spec.batch_size < 1:
        raise ValueError(f"rollout.batch_size must be at least 1, got {spec.batch_size}")
    return ENGINES[spec.name](model, spec.batch_size)
