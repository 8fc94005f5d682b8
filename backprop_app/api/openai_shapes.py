"""Requests and answers in the shape of OpenAI's chat API, as their clients write and read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backprop_core.config.chats import ChatMessage, Finished, Role
from backprop_core.errors import BackpropagateError, ExitCode, InputError
from backprop_core.services.chats import Asked, sampling_of

BASE_SUFFIX: Final = ":base"
# What a client may send and this server cannot do; a neutral value is let through.
_CANNOT: Final = ("tools", "functions", "response_format", "logprobs", "audio", "modalities")
_STATUS: Final = {
    "INPUT_RUN_NOT_FOUND": 404,
    "INPUT_MODEL_NOT_FOUND": 404,
    "RUNTIME_CHAT_BUSY": 429,
    "DEP_EXTRA_MISSING": 503,
}
_TYPES: Final = {404: "invalid_request_error", 429: "rate_limit_error", 503: "server_error"}
_ROLES: Final[dict[str, Role]] = {"developer": "system"}


class TextPart(BaseModel):
    """A piece of a message that is sent in pieces."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]
    text: str


class SentMessage(BaseModel):
    """A message of a request."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    def turn(self) -> ChatMessage:
        """Return the turn of a conversation."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return ChatMessage(role=_ROLES.get(self.role) or self.role, content=text)


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `/v1/chat/completions`; further fields of clients are let pass."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=4096)
    messages: list[SentMessage] = Field(min_length=1, max_length=1000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def wants_base(self) -> bool:
        """Whether the base side is asked."""
        return self.model.endswith(BASE_SUFFIX)

    @property
    def source(self) -> str:
        """What finds the model."""
        return self.model.removesuffix(BASE_SUFFIX)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def asked(self) -> Asked:
        """Return the question; a seed that is not named is another one each time.

        Raises:
            InputError: INPUT_VALIDATION_FAILED, a value is outside its range.
        """
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        named = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "stop": stop,
        }
        given = {name: value for name, value in named.items() if value is not None}
        options = self.chat_template_kwargs or {}
        return Asked(
            [message.turn() for message in self.messages],
            sampling_of({**given, "seed": self.seed}),
            options.get("enable_thinking") is True,
        )


def read_request(body: bytes) -> ChatRequest:
    """Return the request in `body`.

    Raises:
        InputError: INPUT_VALIDATION_FAILED; `details["field"]` names the field.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"][:3])
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{field or 'The body'}: {first['msg']}.", field=field
        ) from error
    for name in _CANNOT:
        if (request.model_extra or {}).get(name) not in (None, False, [], {"type": "text"}, ["text"]):
            raise InputError("INPUT_VALIDATION_FAILED", f"{name} is not supported here.", field=name)
    return request


def whole_answer(reply_id: str, created: int, model: str, text: str, end: Finished) -> dict[str, Any]:
    """Return the answer that is sent in one piece."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": _finish_reason(end),
    }
    return {
        "id": reply_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": _usage(end),
    }


def chunk(
    reply_id: str, created: int, model: str, delta: Mapping[str, str], end: Finished | None = None
) -> dict[str, Any]:
    """Return one event of a stream; `end` makes it the last one of the reply."""
    choice = {
        "index": 0,
        "delta": dict(delta),
        "logprobs": None,
        "finish_reason": None if end is None else _finish_reason(end),
    }
    return {
        "id": reply_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [choice],
    }


def usage_chunk(reply_id: str, created: int, model: str, end: Finished) -> dict[str, Any]:
    """Return the event with the counts of tokens."""
    return {**chunk(reply_id, created, model, {}), "choices": [], "usage": _usage(end)}


def error_body(error: BackpropagateError) -> tuple[int, dict[str, Any]]:
    """Return status and body of a failure in their shape, with our code."""
    default = 400 if error.exit_code is ExitCode.USER else 500
    status = _STATUS.get(error.code, default)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    message = f"{error.message} {error.hint}".strip()
    field = error.details.get("field") or None
    return status, {"error": {"message": message, "type": kind, "param": field, "code": error.code}}


def _finish_reason(end: Finished) -> str:
    return "length" if end.reason == "length" else "stop"


def _usage(end: Finished) -> dict[str, int]:
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.tokens,
        "total_tokens": end.prompt_tokens + end.tokens,
    }
