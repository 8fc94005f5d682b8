"""Replies of a trained model for Python programs; the model is in a process of its own while it answers."""

from __future__ import annotations

import contextlib
from pathlib import Path

from backprop_core.config.chats import ChatMessage, Finished, Side
from backprop_core.services.chat_sources import find_chat
from backprop_core.services.chats import Asked, ChatPool, reply, sampling_of
from backprop_core.services.opening import open_workspace


def generate(
    source: str | Path,
    prompt: str,
    *,
    base: bool = False,
    system: str | None = None,
    enable_thinking: bool = False,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    repetition_penalty: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    stop: list[str] | None = None,
) -> str:
    """Return the reply of a trained model to one question.

    Args:
        source: a run's or an export's id, an adapter or model folder, or a GGUF file.
        prompt: what to ask.
        base: ask the base model instead, to compare.
        system: system prompt.
        enable_thinking: let models think that can be told to.
        temperature: 0 to 2; 0 always takes the likeliest token.
        top_p: choose among the likeliest tokens that make up this share.
        top_k: choose among this many tokens; 0 among all.
        repetition_penalty: above 1 words that stand there already become less likely.
        max_tokens: longest reply.
        seed: the same seed gives the same reply.
        stop: the reply ends before the first of these texts.

    Raises:
        InputError: there is no such model, or a value is outside its range.
        BackpropagateError: why there is no reply.
    """
    named = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
        "seed": seed,
        "stop": stop,
    }
    sampling = sampling_of({name: value for name, value in named.items() if value is not None})
    turns = [ChatMessage(role="system", content=system)] if system else []
    asked = Asked([*turns, ChatMessage(role="user", content=prompt)], sampling, enable_thinking)
    ws = open_workspace()
    try:
        found = find_chat(ws, str(source), face="python")
        home = ws.home
    finally:
        ws.close()
    side: Side = "base" if base else "tuned"
    with contextlib.closing(ChatPool(home)) as pool:
        told = list(reply(pool, found.spec(side), side, asked))
    return "".join(piece.text for piece in told if not isinstance(piece, Finished))
