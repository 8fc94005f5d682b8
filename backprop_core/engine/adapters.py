"""The LoRA adapter: its configuration from the spec, and its place in the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from backprop_core.config.specs import TrainSpec
from backprop_core.errors import InputError
from backprop_core.planning.model_shape import ModelShape

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_adapter(
    model: PreTrainedModel, spec: TrainSpec, *, r: int, alpha: float, base_reference: str
) -> PeftModel:
    """Return `model` with a fresh adapter; its weights depend on the seed alone.

    Args:
        base_reference: what the saved adapter names as its base.

    Raises:
        InputError: the model has no layer of the wanted names.
    """
    transformers.set_seed(spec.seed)
    shape = ModelShape.from_config(model.config.to_dict())
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=shape.target_names(spec.target_modules),
        use_dora=spec.use_dora,
        use_rslora=spec.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base_reference,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"--target-modules {spec.target_modules!r} fits no layer of {base_reference}.",
            hint="Use all-linear, or names such as q_proj,v_proj.",
            field="target_modules",
        ) from error
    config.base_model_name_or_path = base_reference
    return adapted
