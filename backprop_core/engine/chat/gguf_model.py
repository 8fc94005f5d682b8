"""A GGUF file, with its adapter file if there is one, in the engine of llama.cpp inside this process.

The engine answers on a loopback port with a key of its own; a file that aborts it ends this process alone.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core.config.chats import ChatSpec, EndReason, ReplyOrder
from backprop_core.errors import BackpropagateError, DependencyError, InputError, RunError
from backprop_core.gguf import check_gguf
from backprop_core.redact import redact

INSTALL: Final = "pip install 'backpropagate[export]'"
# Half of the context that is asked for: the other half is for replies.
_TOKENS: Final = 4096
_SIDES: Final = 2
_DATA: Final = b"data: "
_DONE: Final = b"data: [DONE]"
_ERROR: Final = b"error: "


def load_gguf(spec: ChatSpec) -> GgufModel:
    """Load the file of `spec`.

    Raises:
        DependencyError: DEP_EXTRA_MISSING, the engine is not installed.
        InputError: the file is no sound GGUF, or holds an adapter alone.
        RunError: RUNTIME_CHAT_FAILED, the engine refuses it.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise DependencyError(
            "DEP_EXTRA_MISSING", "Nothing here can run a GGUF file.", hint=f"Install it with `{INSTALL}`."
        )
    structure = check_gguf(Path(spec.model))
    if structure.is_adapter:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{structure.path.name} is an adapter without its base.",
            hint="Name the folder that holds base.gguf and adapter.gguf.",
        )
    context_tokens = structure.context_for(_TOKENS)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = spec.model
    if spec.adapter is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(spec.adapter, 1.0)]
    key = secrets.token_urlsafe(24)
    params.api_keys = [key]
    params.n_parallel = _SIDES
    params.n_ctx = _SIDES * context_tokens
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) // 2)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise RunError("RUNTIME_CHAT_FAILED", f"The engine refuses {structure.path.name}: {error}") from error
    return GgufModel(server, key, context_tokens, has_adapter=spec.adapter is not None)


class GgufModel:
    """The file in memory."""

    device: Final = "llama.cpp"

    def __init__(self, server: Any, key: str, context_tokens: int, *, has_adapter: bool) -> None:
        self.context_tokens = context_tokens
        self._server = server
        self._has_adapter = has_adapter
        self._address = server.listening_address.removeprefix("http://")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def reply(self, order: ReplyOrder) -> GgufReply:
        """Begin a reply."""
        sampling = order.sampling
        body: dict[str, Any] = {
            "messages": [message.model_dump() for message in order.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,
            "repeat_penalty": sampling.repetition_penalty,
            "repeat_last_n": self.context_tokens,
            "max_tokens": sampling.max_tokens,
            "seed": -1 if sampling.seed is None else sampling.seed,
            "stop": list(sampling.stop),
            "stream": True,
            "stream_options": {"include_usage": True},
            "reasoning_format": "none",
            "chat_template_kwargs": {"enable_thinking": order.enable_thinking},
        }
        if self._has_adapter:
            body["lora"] = [{"id": 0, "scale": 1.0 if order.side == "tuned" else 0.0}]
        # A connection for each reply: closing it is what ends one, and the engine hangs up on idle ones. How
        # long an answer may take is the business of the parent, which ends this process.
        connection = HTTPConnection(self._address)
        connection.request("POST", "/v1/chat/completions", orjson.dumps(body), self._headers)
        return GgufReply(connection)

    def must_go(self) -> str:
        """Return nothing: the processor is not lent to one job at a time."""
        return ""


class GgufReply:
    """One reply, one event of the engine at a time."""

    def __init__(self, connection: HTTPConnection) -> None:
        self.prompt_tokens = 0
        self.tokens = 0
        self.reason: EndReason | None = None
        self._ending: EndReason = "stop"
        self._connection = connection
        self._events = self._read_events()

    def advance(self) -> str:
        """Return the words of the next event."""
        event = next(self._events, None)
        if event is None:
            self.reason = self._ending
            return ""
        if "error" in event:
            raise RunError("RUNTIME_CHAT_FAILED", f"The engine broke off: {_told(event)}")
        if usage := event.get("usage"):
            self.prompt_tokens, self.tokens = usage["prompt_tokens"], usage["completion_tokens"]
        text = ""
        for choice in event["choices"]:
            text += choice["delta"].get("content") or ""
            if choice.get("finish_reason"):
                self._ending = "length" if choice["finish_reason"] == "length" else "stop"
        if text:
            self.tokens += 1
        return text

    def close(self) -> None:
        """Hang up; the engine stops writing."""
        self._connection.close()

    def _read_events(self) -> Iterator[dict[str, Any]]:
        # Asked for here, so that both sides of a pair are in the engine before either is waited for.
        answer = self._connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise _refusal(answer.status, answer.read())
        while line := answer.readline():
            if line.startswith(_DATA) and not line.startswith(_DONE):
                yield orjson.loads(line.removeprefix(_DATA))
            elif line.startswith(_ERROR):
                yield {"error": orjson.loads(line.removeprefix(_ERROR))}


def _refusal(status: int, body: bytes) -> BackpropagateError:
    """Return why the engine takes no such question; it judges length and template itself."""
    try:
        reason = _told(orjson.loads(body))
    except ValueError:
        reason = redact(body[:200].decode(errors="replace"))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InputError(
            "INPUT_VALIDATION_FAILED",
            f"The engine takes no such question: {reason}",
            hint="Begin a new conversation, or shorten the message.",
        )
    return RunError("RUNTIME_CHAT_FAILED", f"The engine refused with {status}: {reason}")


def _told(value: dict[str, Any]) -> str:
    error = value.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return redact(str(message)[:200])
