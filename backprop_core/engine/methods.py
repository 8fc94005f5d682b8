"""What learns in a run, and how its result is written: an adapter, or the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from backprop_core.engine.adapters import add_adapter
from backprop_core.engine.context import RunContext
from backprop_core.engine.loading import BaseModel
from backprop_core.planning.records import Choices

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class Learner(Protocol):
    """A model of which some weights are trained."""

    model: Any

    @property
    def r(self) -> int:
        """Rank of the adapter; 0 when there is none."""
        ...

    @property
    def alpha(self) -> float:
        """Alpha of the adapter; 0 when there is none."""
        ...

    @property
    def trained_parameters(self) -> int:
        """How many weights are trained."""
        ...

    def save(self, folder: Path) -> str:
        """Write the result into `folder` and return the name of its largest file."""
        ...


class AdapterLearner:
    """A frozen base with a trained adapter."""

    def __init__(self, model: PeftModel) -> None:
        self.model = model

    @property
    def r(self) -> int:
        """Rank of the adapter."""
        return int(self.model.peft_config["default"].r)

    @property
    def alpha(self) -> float:
        """Alpha of the adapter."""
        return float(self.model.peft_config["default"].lora_alpha)

    @property
    def trained_parameters(self) -> int:
        """Weights of the adapter."""
        return _count(self.model)

    def save(self, folder: Path) -> str:
        """Write the adapter as PEFT does."""
        # Without the flag PEFT asks the hub for the base model's configuration.
        self.model.save_pretrained(folder, save_embedding_layers=False)
        return "adapter_model.safetensors"


def make_learner(context: RunContext, model: PreTrainedModel, base: BaseModel, chosen: Choices) -> Learner:
    """Return what learns, made of a freshly loaded base.

    Raises:
        InputError: the spec names layers or an adapter that do not fit the base.
    """
    adapted = add_adapter(
        model, context.spec, r=chosen.lora_r, alpha=chosen.lora_alpha, base_reference=base.reference
    )
    return AdapterLearner(adapted)


def _count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
