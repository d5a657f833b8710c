"""From the `rollout` group to an engine."""

from torch import nn

from budgetrl.rollout.engine import RolloutEngine
from budgetrl.rollout.native import NativeEngine
from budgetrl.rollout.transformers_engine import TransformersEngine
from budgetrl.settings.rollout import RolloutSettings

ENGINES = {"native": NativeEngine, "transformers": TransformersEngine}


def make_engine(spec: RolloutSettings, model: nn.Module) -> RolloutEngine:
    """The engine `spec` names, on the weights of `model`. Raises ValueError for a model it cannot run."""
    return ENGINES[spec.name](model, spec.batch_size)
