"""DeepSpeed's configuration for the `zero` group."""

from typing import Any

from budgetrl.settings.zero import ZeroSettings


def deepspeed_config(zero: ZeroSettings, bf16: bool, gradient_clipping: float) -> dict[str, Any]:
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


def _zero_section(zero: ZeroSettings) -> dict[str, Any]:
    section: dict[str, Any] = {"stage": zero.stage}
    if zero.stage == 3:
        # Without it DeepSpeed saves no whole weights at stage 3, and only says so by returning False.
        section["stage3_gather_16bit_weights_on_model_save"] = True
    if zero.offload_optimizer:
        section["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if zero.offload_parameters:
        section["offload_param"] = {"device": "cpu", "pin_memory": True}
    return section
