"""Who loads the base and wraps the adapter around it: transformers, or Unsloth where it is faster.

Unsloth patches the training libraries when it is imported and wants to be the first of them; that
happens only in a worker, and only when it is chosen. What trains the rows is the same either way.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, Final, Protocol

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.context import RunContext
from backprop_core.errors import DependencyError

if TYPE_CHECKING:
    from backprop_core.engine.devices import Device
    from backprop_core.engine.loading import BaseModel
    from backprop_core.planning.records import Choices

UNSLOTH: Final = "unsloth"


class Backend(Protocol):
    """Makes the model of a run."""

    @property
    def name(self) -> str:
        """As the spec and messages name it."""
        ...

    def load(self, context: RunContext, base: BaseModel, device: Device, chosen: Choices) -> Any:
        """Return the base model on its device."""
        ...

    def adapt(self, context: RunContext, model: Any, base: BaseModel, chosen: Choices) -> Any:
        """Return the model with a fresh adapter."""
        ...


class TransformersBackend:
    """The libraries as they are."""

    name: Final = "transformers"

    def load(self, context: RunContext, base: BaseModel, device: Device, chosen: Choices) -> Any:
        """Return the base model on its device."""
        from backprop_core.engine.loading import load_model

        return load_model(context, base, device, chosen.quantization)

    def adapt(self, context: RunContext, model: Any, base: BaseModel, chosen: Choices) -> Any:
        """Return the model with a fresh adapter."""
        from backprop_core.engine.adapters import add_adapter

        return add_adapter(
            model, context.spec, r=chosen.lora_r, alpha=chosen.lora_alpha, base_reference=base.reference
        )


class UnslothBackend:
    """Unsloth's own loader and kernels.

    Args:
        library: the imported package.
    """

    name: Final = UNSLOTH

    def __init__(self, library: Any) -> None:
        self._library = library

    def load(self, context: RunContext, base: BaseModel, device: Device, chosen: Choices) -> Any:
        """Return the base model on its device."""
        context.phase("loading", f"{base.resolved.id} with Unsloth")
        model, _ = self._library.FastLanguageModel.from_pretrained(
            model_name=str(base.resolved.path),
            max_seq_length=context.spec.max_seq_length,
            dtype=device.dtype,
            load_in_4bit=chosen.quantization == "4bit",
            load_in_8bit=chosen.quantization == "8bit",
            local_files_only=True,
        )
        return model

    def adapt(self, context: RunContext, model: Any, base: BaseModel, chosen: Choices) -> Any:
        """Return the model with a fresh adapter."""
        from backprop_core.planning.model_shape import ModelShape

        spec = context.spec
        adapted = self._library.FastLanguageModel.get_peft_model(
            model,
            r=chosen.lora_r,
            lora_alpha=chosen.lora_alpha,
            lora_dropout=spec.lora_dropout,
            target_modules=ModelShape.from_config(base.config.to_dict()).target_names(spec.target_modules),
            bias="none",
            use_gradient_checkpointing=False,
            random_state=spec.seed,
            use_rslora=spec.use_rslora,
        )
        adapted.peft_config["default"].base_model_name_or_path = base.reference
        return adapted


def choose_backend(context: RunContext, *, has_cuda: bool) -> Backend:
    """Return the backend of the run; call it before any other training library is imported.

    Raises:
        DependencyError: DEP_EXTRA_MISSING, Unsloth is demanded and cannot be used.
    """
    spec = context.spec
    if not _wants_unsloth(spec, has_cuda=has_cuda):
        return TransformersBackend()
    try:
        return UnslothBackend(importlib.import_module(UNSLOTH))
    except (ImportError, RuntimeError, NotImplementedError, AttributeError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if spec.backend == UNSLOTH:
            raise DependencyError(
                "DEP_EXTRA_MISSING",
                f"--backend unsloth cannot be used: {reason}",
                hint="Install it with `pip install 'backpropagate[unsloth]'`, or use --backend transformers.",
            ) from error
        context.notice(f"Unsloth cannot be used ({reason}); the run goes on without it.", is_warning=True)
        return TransformersBackend()


def _wants_unsloth(spec: TrainSpec, *, has_cuda: bool) -> bool:
    if spec.backend == UNSLOTH:
        return True
    is_possible = has_cuda and spec.mode == "lora" and not spec.use_dora and spec.from_adapter is None
    return (
        spec.backend == "auto"
        and is_possible
        and spec.init_lora_weights == "default"
        and importlib.util.find_spec(UNSLOTH) is not None
    )
