"""The base model and its tokenizer, from local files only once they are there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as transformers_logging

from backprop_core.engine.context import PhaseReporter, RunContext
from backprop_core.engine.devices import Device
from backprop_core.engine.failures import is_out_of_memory
from backprop_core.errors import BackpropagateError, DependencyError
from backprop_core.hub.download import resolve_model
from backprop_core.hub.records import ResolvedModel
from backprop_core.planning.records import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError)
# Nothing is fetched by the library, and no code that a model names is run.
_FROM_DISK: Final[Mapping[str, bool]] = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model before it is loaded."""

    resolved: ResolvedModel
    config: Any
    tokenizer: PreTrainedTokenizerBase

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the model was published."""
        return self.config.dtype or torch.float32

    @property
    def reference(self) -> str:
        """What an adapter names as its base: the hub id, or the folder of a local model."""
        return str(self.resolved.path) if self.resolved.source == "folder" else self.resolved.id


def fetch_base(context: RunContext) -> BaseModel:
    """Bring the base model to this machine and read its configuration and tokenizer.

    Raises:
        BackpropagateError: the model is unknown, cannot be fetched or is damaged.
    """
    context.phase("loading", context.spec.model)
    fetching: PhaseReporter | None = None

    def progress(done: int, total: int | None, phase: str) -> None:
        nonlocal fetching
        fetching = fetching or context.phase("downloading", context.spec.model)
        fetching.progress(done, total)

    resolved = resolve_model(context.spec.model, cache_dir=context.cache_dir, progress=progress)
    config = read_config(resolved.path, resolved.id)
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.path, **_FROM_DISK)
    except _LOAD_ERRORS as error:
        raise _refused(resolved.path, resolved.id, error) from error
    return BaseModel(resolved, config, tokenizer)


def read_config(folder: Path, name: str) -> Any:
    """Return the configuration of the model in `folder`, called `name` in messages.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED.
    """
    try:
        return AutoConfig.from_pretrained(folder, **_FROM_DISK)
    except _LOAD_ERRORS as error:
        raise _refused(folder, name, error) from error


def load_model(
    context: RunContext, base: BaseModel, device: Device, quantization: Quantization
) -> PreTrainedModel:
    """Load the weights of `base` onto `device`.

    Weights that learn are held in fp32 on a processor: its memory allows it, and bf16 loses small
    steps. On a card they are held in the precision of the computation.

    Raises:
        BackpropagateError: DEP_MODEL_LOAD_FAILED, or the code of what ran out.
    """
    context.phase("loading", base.resolved.id)
    is_learning = context.spec.mode == "full"
    dtype = torch.float32 if is_learning and not device.is_cuda else device.dtype
    model = load_weights(base.resolved.path, base.resolved.id, base.config, dtype, device, quantization)
    model.config.use_cache = False
    return model


def load_weights(
    folder: Path, name: str, config: Any, dtype: torch.dtype, device: Device, quantization: Quantization
) -> PreTrainedModel:
    """Load the weights in `folder`, called `name` in messages, onto `device`.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED.
        RuntimeError: memory ran out.
    """
    try:
        with without_bars():
            return AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                **_FROM_DISK,
                **held(device, quantization),
            )
    except _LOAD_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise _refused(folder, name, error) from error


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep the progress bars of transformers off the terminal; progress stands in the journal."""
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()


def held(device: Device, quantization: Quantization) -> dict[str, Any]:
    """Return where the weights go, and how the linear layers of a frozen base are held."""
    if quantization == "none":
        # Straight onto the card: the machine's own memory may be smaller than the model.
        return {"device_map": {"": device.torch}} if device.is_cuda else {}
    if quantization == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=device.dtype,
        )
    return {"quantization_config": config, "device_map": {"": device.torch}}


def _refused(folder: Path, name: str, error: Exception) -> BackpropagateError:
    reason = str(error).strip().splitlines()
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"{name} in {folder} cannot be loaded: {reason[0][:200] if reason else type(error).__name__}",
        hint="Fetch it again with `backprop models rm` and `backprop models download`, or name another model.",
    )
