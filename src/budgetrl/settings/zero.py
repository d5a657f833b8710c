"""The `zero` group: how training state is cut up over the ranks."""

from dataclasses import dataclass

from budgetrl.core.errors import SettingError
from budgetrl.settings.auto import Rule, may_be_auto

STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class ZeroSettings:
    """DeepSpeed ZeRO."""

    stage: int = may_be_auto(0, Rule.ZERO_STAGE)
    """0 cuts nothing, 1 the optimizer's state, 2 the gradients too, 3 the weights too."""
    offload_optimizer: bool = False
    """Keep the optimizer's state in host memory (stages 1 to 3): less GPU memory, slower steps."""
    offload_parameters: bool = False
    """Keep the weights in host memory (stage 3 only)."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise SettingError("stage", f"must be 0, 1, 2 or 3, got {self.stage}")
        if self.offload_optimizer and self.stage == 0:
            raise SettingError("offload_optimizer", "needs stage 1, 2 or 3, which cut the optimizer's state up")
        if self.offload_parameters and self.stage != 3:
            raise SettingError(
                "offload_parameters", f"needs stage 3, which cuts the weights up; this is stage {self.stage}"
            )
