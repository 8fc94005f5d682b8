"""The LoRA adapter: fresh from the spec, or an earlier one to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from backprop_core.config.specs import TrainSpec
from backprop_core.errors import InputError
from backprop_core.hub.model_folder import require_plain_adapter
from backprop_core.planning.model_shape import ModelShape

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_FILE: Final = "adapter_model.safetensors"


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
        init_lora_weights="pissa" if spec.init_lora_weights == "pissa" else True,
        bias="none",
        task_type="CAUSAL_LM",
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
    # Set afterwards: PEFT warns of a name that is not the folder which the model was loaded from.
    config.base_model_name_or_path = base_reference
    return adapted


def continue_adapter(model: PreTrainedModel, folder: Path, *, seed: int, base_reference: str) -> PeftModel:
    """Return `model` with the adapter in `folder`, ready to learn on.

    Raises:
        InputError: INPUT_ADAPTER_INVALID, the folder holds no adapter in safetensors form, or one of
            another model.
    """
    transformers.set_seed(seed)
    # Only safetensors: the older form is a pickle, which can run code.
    if not (folder / "adapter_config.json").is_file() or not (folder / ADAPTER_FILE).is_file():
        raise _not_usable(folder, f"it needs adapter_config.json and {ADAPTER_FILE}")
    require_plain_adapter(folder)
    try:
        adapted = PeftModel.from_pretrained(model, folder, is_trainable=True, use_safetensors=True)
    except (ValueError, RuntimeError, KeyError, OSError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()
        raise _not_usable(
            folder, f"it does not fit {base_reference}: {reason[0][:160] if reason else 'damaged'}"
        ) from error
    if not isinstance(adapted.peft_config["default"], LoraConfig):
        raise _not_usable(folder, "it is no LoRA adapter")
    adapted.peft_config["default"].base_model_name_or_path = base_reference
    return adapted


def _not_usable(folder: Path, reason: str) -> InputError:
    return InputError(
        "INPUT_ADAPTER_INVALID",
        f"{folder} cannot be continued: {reason}.",
        field="from_adapter",
    )
