"""The `zero` group: how training state is cut up over the ranks, and DeepSpeed's configuration for it."""

from dataclasses import dataclass
from typing import Any

STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class ZeroSpec:
    """DeepSpeed ZeRO."""

    stage: int = 0
    """0 cuts nothing, 1 the optimiser's state, 2 the gradients too, 3 the weights too."""
    offload_optimizer: bool = False
    """Keep the optimiser's state in host memory (stages 1 to 3): less GPU memory, slower steps."""
    offload_parameters: bool = False
    """Keep the weights in host memory (stage 3 only)."""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage: must be 0, 1, 2 or 3, got {self.stage}")
        if self.offload_optimizer and self.stage == 0:
            raise ValueError("offload_optimizer: needs stage 1, 2 or 3, which cut the optimiser's state up")
        if self.offload_parameters and self.stage != 3:
            raise ValueError(
                f"offload_parameters: needs stage 3, which cuts the weights up; this is stage {self.stage}"
            )


def deepspeed_config(zero: ZeroSpec, bf16: bool, gradient_clipping: float) -> dict[str, Any]:
    """The dictionary for `deepspeed.initialize`; every value is given, none is "auto".

    Batch sizes are 1 because the engine sets accumulation boundaries itself, over micro-batches of varying
    size and number. `gradient_clipping` is the largest gradient norm; 0 clips nothing.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": gradient_clipping,
        "bf16": {"enabled": bf16},
        "zero_optimization": _zero_section(zero),
        # We hand over torch's AdamW, which DeepSpeed does not know and, offloading, would replace by its own.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31 - 1,  # it would print to the terminal of the progress bar
        "wall_clock_breakdown": False,
    }


def _zero_section(zero: ZeroSpec) -> dict[str, Any]:
    section: dict[str, Any] = {"stage": zero.stage}
    if zero.stage == 3:
        # Without it DeepSpeed saves no whole weights at stage 3, and only says so by returning False.
        section["stage3_gather_16bit_weights_on_model_save"] = True
    if zero.offload_optimizer:
        section["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if zero.offload_parameters:
        section["offload_param"] = {"device": "cpu", "pin_memory": True}
    return section


def bytes_per_rank(
    zero: ZeroSpec, parameters: int, bf16: bool, ranks: int, rollouts: bool = False, reference: bool = False
) -> dict[str, int]:
    """Device memory of the training state on each rank, in bytes; activations and logits come on top.

    `rollouts`: the model also writes while it is trained, for which stage 3 gathers whole weights beside the
    cut ones. `reference`: a frozen copy is held, whole, to measure the KL divergence from.
    Adam's state is 12 bytes a parameter beside bf16 weights (fp32 weights and two moments), 8 beside fp32 ones.
    """
    wide = 2 if bf16 else 4
    optimizer = (12 if bf16 else 8) * parameters
    weights, gradients = wide * parameters, wide * parameters
    sizes = {
        "weights": 0 if zero.offload_parameters else _share(weights, ranks, zero.stage >= 3),
        "gradients": _share(gradients, ranks, zero.stage >= 2),
        "optimizer": 0 if zero.offload_optimizer else _share(optimizer, ranks, zero.stage >= 1),
    }
    if rollouts and zero.stage >= 3:
        sizes["whole weights, to write completions"] = weights
    if reference:
        sizes["reference model"] = weights
    return sizes


def _share(size: int, ranks: int, cut: bool) -> int:
    return -(-size // ranks) if cut else size
