"""The `zero` group: how DeepSpeed ZeRO partitions training state across ranks."""

from dataclasses import dataclass

from budgetrl.core.errors import SettingError
from budgetrl.settings.auto import Rule, may_be_auto

STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class ZeroSettings:
    """DeepSpeed ZeRO: which training state is partitioned across ranks, and what is offloaded to host memory."""

    stage: int = may_be_auto(0, Rule.ZERO_STAGE)
    """What is partitioned: 0 nothing, 1 optimizer state, 2 also gradients, 3 also weights."""
    offload_optimizer: bool = False
    """Keep the optimizer state in host memory (stages 1 to 3). Saves GPU memory, but steps are slower."""
    offload_parameters: bool = False
    """Keep the weights in host memory (stage 3 only)."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise SettingError("stage", f"must be 0, 1, 2 or 3, got {self.stage}")
        if self.offload_optimizer and self.stage == 0:
            raise SettingError("offload_optimizer", "needs stage 1, 2 or 3", "use zero=stage1, stage2 or stage3")
        if self.offload_parameters and self.stage != 3:
            raise SettingError("offload_parameters", f"needs stage 3, not stage {self.stage}", "use zero=stage3")
