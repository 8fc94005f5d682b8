"""Conversations written back as rows of a format."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from backprop_core.datasets.rows import Conversation, Message
from backprop_core.datasets.template import as_dict
from backprop_core.datasets.texts import question_text

OutputFormat = Literal["openai", "sharegpt", "csv"]

_SHAREGPT: Final = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}
# A spreadsheet takes a cell with one of these in front for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def line_of(value: Mapping[str, Any]) -> bytes:
    """Return a row as it was read, as one JSON line."""
    return orjson.dumps(value) + b"\n"


def row_of(conversation: Conversation, to: OutputFormat) -> bytes:
    """Return a conversation as one line of a format."""
    if to == "csv":
        return _csv_row(conversation)
    if conversation.text is not None:
        return line_of({"text": conversation.text})
    row: dict[str, Any]
    if to == "openai":
        row = {"messages": [_openai(message) for message in conversation.messages]}
    else:
        row = {"conversations": [turn for message in conversation.messages for turn in _sharegpt(message)]}
    if conversation.tools:
        row["tools"] = list(conversation.tools)
    return line_of(row)


def _openai(message: Message) -> dict[str, Any]:
    turn = as_dict(message)
    for call in turn.get("tool_calls", ()):
        call["function"] = {**call["function"], "arguments": _text(call["function"]["arguments"])}
    if not message.trains:
        turn["weight"] = 0
    return turn


def _sharegpt(message: Message) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    if message.content or not message.tool_calls:
        turns.append({"from": _SHAREGPT[message.role], "value": message.content})
        if message.reasoning is not None:
            turns[-1]["reasoning"] = message.reasoning
        if not message.trains:
            turns[-1]["weight"] = 0
    turns.extend(
        {"from": "function_call", "value": _text({"name": call.name, "arguments": call.arguments})}
        for call in message.tool_calls
    )
    return turns


def _csv_row(conversation: Conversation) -> bytes:
    answers = [message.content for message in conversation.messages if message.role == "assistant"]
    cells = [question_text(conversation), answers[0] if answers else ""]
    stream = io.StringIO()
    csv.writer(stream).writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return stream.getvalue().encode()


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()
