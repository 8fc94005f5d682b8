"""Base model and adapter in torch: one base in memory, the adapter switched on or off for each few tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from backprop_core import platform
from backprop_core.config.chats import ChatSpec, EndReason, ReplyOrder, Sampling, Side
from backprop_core.datasets.rows import Message, RowFault
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.chat.stopping import StopFilter
from backprop_core.engine.devices import Device, select_device, use_physical_cores
from backprop_core.engine.loading import load_weights, read_config
from backprop_core.errors import InputError
from backprop_core.hub.model_folder import require_plain_adapter
from backprop_core.planning.records import Quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Few enough that both sides seem to write at once, many enough that the switching costs nothing.
_TOKENS_A_TURN: Final = 4
# Room on a card beside the weights, for the cache of two conversations.
_ROOM: Final = 1.25
_MAX_CONTEXT: Final = 1 << 15


def load_torch(spec: ChatSpec, slot: Path) -> TorchModel:
    """Load the model of `spec`; on a card only while no run uses it.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED.
        InputError: INPUT_ADAPTER_INVALID, the adapter does not fit the base.
    """
    use_physical_cores()
    is_free = platform.lock_is_free(slot)
    device = select_device("auto" if is_free else "cpu")
    folder = Path(spec.model)
    tokenizers = {False: ChatTokenizer.load(folder)}
    config = read_config(folder, folder.name)
    model = load_weights(folder, folder.name, config, device.dtype, device, _held(folder, device))
    if spec.adapter is not None:
        model = _with_adapter(model, Path(spec.adapter), folder.name)
    return TorchModel(model.eval(), device, tokenizers, folder, slot, has_adapter=spec.adapter is not None)


class TorchModel:
    """The model in memory, and its tokenizer with and without thinking."""

    def __init__(
        self,
        model: Any,
        device: Device,
        tokenizers: dict[bool, ChatTokenizer],
        folder: Path,
        slot: Path,
        *,
        has_adapter: bool,
    ) -> None:
        self._model = model
        self._device = device
        self._tokenizers = tokenizers
        self._folder = folder
        self._slot = slot
        self._has_adapter = has_adapter
        self._side: Side = "tuned"
        self.device = device.name
        known = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.context_tokens = min(int(known or _MAX_CONTEXT), _MAX_CONTEXT)

    def reply(self, order: ReplyOrder) -> TorchReply:
        """Begin a reply.

        Raises:
            InputError: INPUT_VALIDATION_FAILED, the template refuses the conversation or it is too long.
        """
        tokenizer = self._tokenizer(order.enable_thinking)
        messages = [Message(role=message.role, content=message.content) for message in order.messages]
        try:
            ids = tokenizer.encode_text(tokenizer.render_prompt(messages))
        except RowFault as fault:
            raise InputError("INPUT_VALIDATION_FAILED", f"This cannot be asked: {fault}") from fault
        if len(ids) >= self.context_tokens:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"The conversation has {len(ids):,} tokens; the model reads at most {self.context_tokens:,}.",
                hint="Begin a new conversation, or shorten the message.",
            )
        return TorchReply(self, tokenizer, ids, order)

    def must_go(self) -> str:
        """Return that a run needs the card, when one does."""
        is_needed = self._device.is_cuda and not platform.lock_is_free(self._slot)
        return "a run needs the card" if is_needed else ""

    def forward(self, side: Side, ids: torch.Tensor, past: Any) -> tuple[torch.Tensor, Any]:
        """Read `ids` (1, new) after what `past` holds; return logits (1, vocabulary) and the new past."""
        if self._has_adapter and side != self._side:
            layers = self._model.base_model
            layers.enable_adapter_layers() if side == "tuned" else layers.disable_adapter_layers()
            self._side = side
        with torch.inference_mode():
            out = self._model(
                input_ids=ids.to(self._device.torch), past_key_values=past, use_cache=True, logits_to_keep=1
            )
            return out.logits[:, -1].float(), out.past_key_values

    def end_ids(self, tokenizer: ChatTokenizer) -> frozenset[int]:
        """Return the tokens that end a reply."""
        named = getattr(self._model.generation_config, "eos_token_id", None)
        several = named if isinstance(named, list) else [named]
        found = [*several, tokenizer.eos_id, tokenizer.end_of_turn_id]
        return frozenset(int(number) for number in found if number is not None)

    def _tokenizer(self, enable_thinking: bool) -> ChatTokenizer:
        if enable_thinking not in self._tokenizers:
            self._tokenizers[enable_thinking] = ChatTokenizer.load(
                self._folder, enable_thinking=enable_thinking
            )
        return self._tokenizers[enable_thinking]


class TorchReply:
    """One reply, a few tokens at a time."""

    def __init__(
        self, model: TorchModel, tokenizer: ChatTokenizer, prompt: list[int], order: ReplyOrder
    ) -> None:
        self.prompt_tokens = len(prompt)
        self.tokens = 0
        self.reason: EndReason | None = None
        self._model = model
        self._side: Side = order.side
        self._limit = min(order.sampling.max_tokens, model.context_tokens - len(prompt))
        self._ends = model.end_ids(tokenizer)
        self._text_of = tokenizer.text_stream()
        self._stops = StopFilter(order.sampling.stop)
        self._ids = torch.tensor([prompt], dtype=torch.long)
        self._unread = self._ids
        self._past: Any = None
        self._choose = Chooser(order.sampling)

    def advance(self) -> str:
        """Write up to four tokens."""
        text = ""
        for _ in range(_TOKENS_A_TURN):
            text += self._next()
            if self.reason is not None or self.tokens == 1:
                break
        return text

    def close(self) -> None:
        """Free the cache."""
        self._past = None

    def _next(self) -> str:
        logits, self._past = self._model.forward(self._side, self._unread, self._past)
        token = self._choose(self._ids, logits.cpu())
        if token in self._ends:
            self.reason = "stop"
            return self._stops.rest()
        self.tokens += 1
        self._unread = torch.tensor([[token]], dtype=torch.long)
        self._ids = torch.cat([self._ids, self._unread], dim=1)
        text = self._stops.push(self._text_of(token))
        if self._stops.is_stopped:
            self.reason = "stop"
        elif self.tokens >= self._limit:
            self.reason = "length"
            text += self._stops.rest()
        return text


class Chooser:
    """Chooses the next token as the sampling says."""

    def __init__(self, sampling: Sampling) -> None:
        self._is_greedy = sampling.temperature == 0
        self._random = torch.Generator()
        if sampling.seed is not None:
            self._random.manual_seed(sampling.seed)
        else:
            self._random.seed()
        self._shape = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._shape.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if self._is_greedy:
            return
        self._shape.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            self._shape.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            self._shape.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> int:
        """Return the token after `ids` (1, length) from `logits` (1, vocabulary)."""
        shaped = self._shape(ids, logits)
        if self._is_greedy:
            return int(shaped.argmax(dim=-1))
        return int(torch.multinomial(torch.softmax(shaped, dim=-1), 1, generator=self._random))


def _held(folder: Path, device: Device) -> Quantization:
    """Return how the weights are held: as they are where they fit, else in 4 bits."""
    if not device.is_cuda:
        return "none"
    size_bytes = sum(part.stat().st_size for part in folder.glob("*.safetensors"))
    return "none" if size_bytes * _ROOM < torch.cuda.mem_get_info(device.torch)[0] else "4bit"


def _with_adapter(model: PreTrainedModel, folder: Path, base: str) -> Any:
    if not (folder / "adapter_config.json").is_file():
        raise InputError(
            "INPUT_ADAPTER_INVALID", f"{folder} holds no adapter: it has no adapter_config.json."
        )
    require_plain_adapter(folder)
    try:
        return PeftModel.from_pretrained(model, folder, use_safetensors=True)
    except (ValueError, RuntimeError, KeyError, OSError, TypeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()
        raise InputError(
            "INPUT_ADAPTER_INVALID",
            f"The adapter {folder} does not fit {base}: {reason[0][:160] if reason else 'damaged'}",
        ) from error
