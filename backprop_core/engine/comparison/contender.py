"""One of the two models of an evaluation: loaded, asked for losses and replies, let go."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.collating import Row
from backprop_core.engine.devices import Device
from backprop_core.engine.failures import is_out_of_memory
from backprop_core.engine.loading import held, without_bars
from backprop_core.errors import DependencyError
from backprop_core.hub.model_folder import require_plain_adapter
from backprop_core.planning.records import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError)
_SLACK_TOKENS: Final = 16


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the model reads it, and how long the expected answer is in tokens."""

    ids: tuple[int, ...]
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that answers.

    Attributes:
        check: called before each row; what it raises ends the work.
    """

    model: PreTrainedModel | PeftModel
    device: Device
    check: Callable[[], None]

    def loss_of(self, row: Row) -> float:
        """Return the summed loss of a row's answer tokens, in nats."""
        self.check()
        ids = torch.from_numpy(row.ids)[None].to(self.device.torch)
        with torch.no_grad():
            logits = self.model(ids).logits[0, torch.from_numpy(row.sources).to(self.device.torch)]
        targets = ids[0, torch.from_numpy(row.sources + 1).to(self.device.torch)]
        return float(torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))

    def reply_to(self, prompt: Prompt, tokenizer: ChatTokenizer) -> str:
        """Return the likeliest reply, cut soon after the length of the expected answer."""
        self.check()
        ids = torch.tensor([prompt.ids], device=self.device.torch)
        ends = [end for end in (tokenizer.end_of_turn_id, tokenizer.eos_id) if end is not None]
        with torch.no_grad():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=2 * prompt.answer_tokens + _SLACK_TOKENS,
                do_sample=False,
                use_cache=True,
                eos_token_id=ends or None,
                pad_token_id=ends[0] if ends else 0,
            )
        return tokenizer.decode(out[0, ids.shape[1] :].tolist(), skip_special_tokens=True).strip()


@contextlib.contextmanager
def loaded(
    model: Path, adapter: Path | None, device: Device, quantization: Quantization, check: Callable[[], None]
) -> Iterator[Loaded]:
    """Load a model for the length of a block.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED.
    """
    weights: Any = None
    try:
        with without_bars():
            weights = AutoModelForCausalLM.from_pretrained(
                model,
                dtype=device.dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                **held(device, quantization),
            )
            if adapter is not None:
                require_plain_adapter(adapter)
                weights = PeftModel.from_pretrained(weights, str(adapter), use_safetensors=True)
    except _LOAD_ERRORS as error:
        if is_out_of_memory(error):
            raise
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED", f"{adapter or model} cannot be loaded: {str(error)[:200]}"
        ) from error
    weights.eval()
    try:
        yield Loaded(weights, device, check)
    finally:
        del weights
        if device.is_cuda:
            torch.cuda.empty_cache()


def summed_losses(contender: Loaded, rows: Sequence[Row]) -> list[float]:
    """Return the summed loss of each row."""
    return [contender.loss_of(row) for row in rows]
