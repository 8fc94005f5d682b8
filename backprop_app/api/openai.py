"""The trained models behind OpenAI's chat API: `/v1/models` and `/v1/chat/completions`, streamed or whole."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from backprop_app.api import openai_shapes as shapes
from backprop_app.chatting import replies
from backprop_app.runtime import current
from backprop_core.config.chats import Finished, Piece
from backprop_core.errors import BackpropagateError
from backprop_core.services.chat_sources import ChatSource, find_chat, list_chats

router = APIRouter()

Parts = AsyncGenerator[Piece | Finished, None]


@router.get("/v1/models")
def list_models() -> dict[str, Any]:
    """Return what can be asked; an id with `:base` asks the model it was trained from."""
    return {
        "object": "list",
        "data": [entry for source in list_chats(current().ws) for entry in _entries(source)],
    }


@router.get("/v1/models/{model}")
def show_model(model: str) -> Response:
    """Return one model."""
    known = {entry["id"]: entry for source in list_chats(current().ws) for entry in _entries(source)}
    if model in known:
        return JSONResponse(known[model])
    body = {
        "message": f"There is no model {model[:80]!r}.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "INPUT_MODEL_NOT_FOUND",
    }
    return JSONResponse({"error": body}, 404)


@router.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    """Answer a conversation, as events while it is written when `stream` is true."""
    runtime = current()
    try:
        wanted = shapes.read_request(await request.body())
        asked = wanted.asked()
        source = await asyncio.to_thread(find_chat, runtime.ws, wanted.source, face="page")
        parts = replies(runtime, source, "base" if wanted.wants_base else "tuned", asked)
        # What goes wrong before the first word has a status of its own.
        first = await anext(parts)
        if wanted.stream:
            return StreamingResponse(_events(wanted, first, parts), media_type="text/event-stream")
        return JSONResponse(await _whole(request, wanted.model, first, parts))
    except BackpropagateError as error:
        status, body = shapes.error_body(error)
        return JSONResponse(body, status)


async def _whole(request: Request, model: str, first: Piece | Finished, parts: Parts) -> dict[str, Any]:
    """Return the reply when it has ended; a client that hangs up ends it."""
    reply_id, created = _new_id(), int(time.time())
    text, part = "", first
    async with contextlib.aclosing(parts):
        while isinstance(part, Piece):
            text += part.text
            if await request.is_disconnected():
                break
            part = await anext(parts)
    if isinstance(part, Piece):
        part = Finished(id=part.id, reason="cancelled", prompt_tokens=0, tokens=0, first_token_s=0, seconds=0)
    return shapes.whole_answer(reply_id, created, model, text, part)


async def _events(wanted: shapes.ChatRequest, first: Piece | Finished, parts: Parts) -> AsyncIterator[bytes]:
    reply_id, created, model = _new_id(), int(time.time()), wanted.model
    yield _event(shapes.chunk(reply_id, created, model, {"role": "assistant", "content": ""}))
    part = first
    async with contextlib.aclosing(parts):
        try:
            while isinstance(part, Piece):
                yield _event(shapes.chunk(reply_id, created, model, {"content": part.text}))
                part = await anext(parts)
        except BackpropagateError as error:
            yield _event(shapes.error_body(error)[1])
            return
    yield _event(shapes.chunk(reply_id, created, model, {}, part))
    if wanted.wants_usage:
        yield _event(shapes.usage_chunk(reply_id, created, model, part))
    yield b"data: [DONE]\n\n"


def _entries(source: ChatSource) -> list[dict[str, Any]]:
    created = int(datetime.fromisoformat(source.made_at).timestamp()) if source.made_at else 0
    entry = {"object": "model", "created": created, "owned_by": "backpropagate"}
    found = [{"id": source.key, **entry, "name": f"{source.name}, {source.kind}"}]
    if source.base is not None:
        found.append({"id": source.key + shapes.BASE_SUFFIX, **entry, "name": f"{source.base_name}, base"})
    return found


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"
