"""Build DeepSpeed's configuration from the `zero` config group."""

from typing import Any

from budgetrl.settings.zero import ZeroSettings


def deepspeed_config(zero: ZeroSettings, bf16: bool, gradient_clipping: float) -> dict[str, Any]:
    """Return the dictionary for `deepspeed.initialize`. All values are explicit, none is "auto".

    Args:
        zero: stage and offloading.
        bf16: whether parameters are bfloat16.
        gradient_clipping: maximum gradient norm; 0 disables clipping.
    """
    return {
        # Placeholders. `ZeroEngine.step` sets the accumulation boundary itself, because the size and number of
        # micro-batches change from step to step.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": gradient_clipping,
        "bf16": {"enabled": bf16},
        "zero_optimization": _zero_section(zero),
        # We pass torch's AdamW. DeepSpeed rejects optimizers it has not been tested with unless it is told otherwise,
        # and with offloading it insists on its own CPU Adam.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # In effect never: its prints would garble the progress bar.
        "steps_per_print": 2**31 - 1,
        "wall_clock_breakdown": False,
    }


def _zero_section(zero: ZeroSettings) -> dict[str, Any]:
    section: dict[str, Any] = {"stage": zero.stage}
    if zero.stage == 3:
        # Without this, DeepSpeed cannot export full weights at stage 3, and reports that only by returning False.
        section["stage3_gather_16bit_weights_on_model_save"] = True
    if zero.offload_optimizer:
        section["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if zero.offload_parameters:
        section["offload_param"] = {"device": "cpu", "pin_memory": True}
    return section
