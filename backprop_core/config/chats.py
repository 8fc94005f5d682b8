"""What is asked of a chat's worker and what it says: one JSON line each. Frozen; holds no judgement."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from backprop_core.errors import ErrorRecord

Side = Literal["tuned", "base"]
Role = Literal["system", "user", "assistant"]
EndReason = Literal["stop", "length", "cancelled"]

IDLE_S: Final = 300.0
MAX_SEED: Final = 2**31 - 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Sampling(_Frozen):
    """How the next token is chosen. Every face takes its fields, ranges and defaults from here."""

    temperature: float = Field(
        0.7, ge=0, le=2, description="Higher is freer; 0 always takes the likeliest token."
    )
    top_p: float = Field(
        0.9, gt=0, le=1, description="Choose among the likeliest tokens that make up this share."
    )
    top_k: int = Field(40, ge=0, le=1000, description="Choose among this many tokens; 0 among all.")
    repetition_penalty: float = Field(
        1.05, ge=1, le=2, description="Above 1 words that stand there already become less likely."
    )
    max_tokens: int = Field(512, ge=1, le=32_768, description="Longest reply in tokens.")
    seed: int | None = Field(
        42, ge=0, le=MAX_SEED, description="The same seed gives the same reply; none gives another each time."
    )
    stop: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), max_length=8, description="The reply ends before the first of these texts."
    )


class ChatMessage(_Frozen):
    """One turn of a conversation."""

    role: Role
    content: str


class ChatSpec(_Frozen):
    """What one worker holds in memory.

    Attributes:
        engine: `torch` for safetensors, `gguf` for a file of llama.cpp.
        model: folder of the base or whole model, or a GGUF file.
        adapter: folder of a PEFT adapter, or the GGUF file of one; None for a whole model. With one, both
            sides can be asked.
        idle_s: seconds without a reply after which the worker ends and frees its memory.
    """

    engine: Literal["torch", "gguf"]
    model: str
    adapter: str | None = None
    idle_s: float = IDLE_S


class ReplyOrder(_Frozen):
    """A reply that is wanted.

    Attributes:
        id: chosen by whoever asks, new for each reply of a worker.
        side: `base` answers without the adapter.
    """

    type: Literal["reply"] = "reply"
    id: int
    side: Side = "tuned"
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    sampling: Sampling = Sampling()
    enable_thinking: bool = False


class CancelOrder(_Frozen):
    """The reply `id` is not wanted any more."""

    type: Literal["cancel"] = "cancel"
    id: int


Order = ReplyOrder | CancelOrder


class Ready(_Frozen):
    """The model is in memory.

    Attributes:
        context_tokens: that prompt and reply may have together.
    """

    type: Literal["ready"] = "ready"
    device: str
    context_tokens: int
    seconds: float


class Piece(_Frozen):
    """The next words of a reply."""

    type: Literal["piece"] = "piece"
    id: int
    text: str


class Finished(_Frozen):
    """A reply has ended.

    Attributes:
        first_token_s: from the order to the first token.
        seconds: from the first token to the last.
    """

    type: Literal["finished"] = "finished"
    id: int
    reason: EndReason
    prompt_tokens: int
    tokens: int
    first_token_s: float
    seconds: float

    @property
    def tokens_per_s(self) -> float | None:
        """Speed after the first token; None for a reply that is too short to tell."""
        return (self.tokens - 1) / self.seconds if self.tokens > 1 and self.seconds > 0 else None


class Refused(_Frozen):
    """A reply failed, or with `id` None the whole worker did."""

    type: Literal["refused"] = "refused"
    id: int | None
    error: ErrorRecord


class Closing(_Frozen):
    """The worker ends in order: nobody asked it for long, or training needs the card."""

    type: Literal["closing"] = "closing"
    reason: str


Told = Ready | Piece | Finished | Refused | Closing

ORDERS: Final[TypeAdapter[Order]] = TypeAdapter(Annotated[Order, Field(discriminator="type")])
TOLD: Final[TypeAdapter[Told]] = TypeAdapter(Annotated[Told, Field(discriminator="type")])
