"""What learns in a run, and how its result is written: an adapter, or the whole model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import transformers

from backprop_core.engine.adapters import continue_adapter
from backprop_core.engine.backends import Backend, TransformersBackend
from backprop_core.engine.context import RunContext
from backprop_core.engine.devices import Device
from backprop_core.engine.failures import is_out_of_memory
from backprop_core.engine.loading import BaseModel, without_bars
from backprop_core.errors import DependencyError
from backprop_core.planning.records import Choices

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


# What a backend raises for a model or a machine that it does not know.
_BACKEND_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    OSError,
)


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
        with without_bars():
            self.model.save_pretrained(folder)


def make_learner(
    context: RunContext, backend: Backend, base: BaseModel, device: Device, chosen: Choices
) -> Learner:
    """Load the base and return what learns; a backend that nobody demanded may fail.

    Raises:
        BackpropagateError: the model cannot be loaded, or the spec names layers or an adapter that do
            not fit it.
    """
    try:
        return _made_by(backend, context, base, device, chosen)
    except _BACKEND_ERRORS as error:
        if backend.name == "transformers" or is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if context.spec.backend == backend.name:
            raise DependencyError(
                "DEP_MODEL_LOAD_FAILED", f"{backend.name} cannot load {base.resolved.id}: {reason}"
            ) from error
        context.notice(
            f"{backend.name} cannot load this model ({reason}); the run goes on without it.", is_warning=True
        )
    return _made_by(TransformersBackend(), context, base, device, chosen)


def _made_by(
    backend: Backend, context: RunContext, base: BaseModel, device: Device, chosen: Choices
) -> Learner:
    spec = context.spec
    model = backend.load(context, base, device, chosen)
    if spec.mode == "full":
        transformers.set_seed(spec.seed)
        return FullLearner(model, base.dtype)
    if spec.from_adapter is not None:
        folder = Path(spec.from_adapter).expanduser()
        return AdapterLearner(continue_adapter(model, folder, seed=spec.seed, base_reference=base.reference))
    adapted = backend.adapt(context, model, base, chosen)
    if spec.init_lora_weights == "pissa":
        return PissaLearner(adapted, context.folder.path / "adapter-beginning")
    return AdapterLearner(adapted)


def trained_parameters(model: torch.nn.Module) -> int:
    """Return how many weights of `model` are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
