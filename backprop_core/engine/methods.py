"""What learns in a run, and how its result is written: an adapter, or the whole model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import transformers

from backprop_core.engine.adapters import add_adapter, continue_adapter
from backprop_core.engine.context import RunContext
from backprop_core.engine.loading import BaseModel
from backprop_core.planning.records import Choices

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class Learner(Protocol):
    """A model of which some weights are trained."""

    model: Any
    artifact: str

    @property
    def r(self) -> int:
        """Rank of the adapter; 0 when there is none."""
        ...

    @property
    def alpha(self) -> float:
        """Alpha of the adapter; 0 when there is none."""
        ...

    def save(self, folder: Path) -> None:
        """Write the result into `folder`."""
        ...


class AdapterLearner:
    """A frozen base with a trained adapter."""

    artifact = "adapter"

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

    def save(self, folder: Path) -> None:
        """Write the adapter as PEFT does."""
        # Without the flag PEFT asks the hub for the base model's configuration.
        self.model.save_pretrained(folder, save_embedding_layers=False)


class PissaLearner(AdapterLearner):
    """An adapter that began as the strongest directions of the base, which lost them.

    What is saved is a plain adapter for the untouched base: the difference between its end and its
    beginning, at twice the rank (PEFT's conversion).

    Args:
        beginning: folder for the adapter as it began; removed once the result is written.
    """

    def __init__(self, model: PeftModel, beginning: Path) -> None:
        super().__init__(model)
        self._beginning = beginning
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(beginning, save_embedding_layers=False)

    def save(self, folder: Path) -> None:
        """Write the difference between end and beginning."""
        self.model.save_pretrained(
            folder,
            save_embedding_layers=False,
            path_initial_model_for_weight_conversion=str(self._beginning),
        )
        shutil.rmtree(self._beginning)


class FullLearner:
    """A model whose every weight is trained."""

    artifact = "model"
    r = 0
    alpha = 0.0

    def __init__(self, model: PreTrainedModel, saved_dtype: torch.dtype) -> None:
        self.model = model.requires_grad_(True)
        self._saved_dtype = saved_dtype

    def save(self, folder: Path) -> None:
        """Write the model in the dtype of its base."""
        self.model.to(self._saved_dtype)
        self.model.config.use_cache = True
        self.model.save_pretrained(folder)


def make_learner(context: RunContext, model: PreTrainedModel, base: BaseModel, chosen: Choices) -> Learner:
    """Return what learns, made of a freshly loaded base.

    Raises:
        InputError: the spec names layers or an adapter that do not fit the base.
    """
    spec = context.spec
    if spec.mode == "full":
        transformers.set_seed(spec.seed)
        return FullLearner(model, base.dtype)
    if spec.from_adapter is not None:
        folder = Path(spec.from_adapter).expanduser()
        return AdapterLearner(continue_adapter(model, folder, seed=spec.seed, base_reference=base.reference))
    adapted = add_adapter(
        model, spec, r=chosen.lora_r, alpha=chosen.lora_alpha, base_reference=base.reference
    )
    if spec.init_lora_weights == "pissa":
        return PissaLearner(adapted, context.folder.path / "adapter-beginning")
    return AdapterLearner(adapted)


def trained_parameters(model: torch.nn.Module) -> int:
    """Return how many weights of `model` are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
