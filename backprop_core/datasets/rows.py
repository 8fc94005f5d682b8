"""The records that pass between reader, converter, mask and report.

A row of any format becomes a `Conversation`, or a `RowProblem` with its number and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


class RowCode(StrEnum):
    """Why a row cannot be used; stable words for programs and pages."""

    NOT_JSON = "row_not_json"
    NOT_OBJECT = "row_not_object"
    NOT_CSV = "row_not_csv"
    CUT_OFF = "row_cut_off"
    TOO_LONG = "row_too_long"
    NOT_UTF8 = "row_not_utf8"
    LAYOUT_UNKNOWN = "row_layout_unknown"
    ROLE_UNKNOWN = "row_role_unknown"
    FIELD_MISSING = "row_field_missing"
    FIELD_NULL = "row_field_null"
    FIELD_EMPTY = "row_field_empty"
    FIELD_TYPE = "row_field_type"
    MEDIA = "row_media"
    NO_ASSISTANT = "row_no_assistant"
    TOO_DEEP = "row_too_deep"
    TEMPLATE_REFUSED = "row_template_refused"
    TEMPLATE_DROPS = "row_template_drops"
    MASK_UNCLEAR = "row_mask_unclear"
    MASK_EMPTY = "row_mask_empty"
    TOO_MANY_TOKENS = "row_too_many_tokens"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One row that cannot be used.

    Args:
        row: number as people count: line of a JSONL file, element of an array, record of a table.
        code: the stable word.
        reason: one sentence; never echoes the content of the row.
    """

    row: int
    code: RowCode
    reason: str


class RowFault(Exception):
    """Raised inside the converters for a row that cannot be used."""

    def __init__(self, code: RowCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason

    def at(self, row: int) -> RowProblem:
        """Return the problem with the number of its row."""
        return RowProblem(row, self.code, self.reason)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant called."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Args:
        role: who speaks.
        content: what is said; empty only beside tool calls and in tool results.
        tool_calls: functions that an assistant turn calls.
        reasoning: the thinking of an assistant turn, when the data keeps it apart.
        name: the function that a tool turn answers for.
        tool_call_id: the call that a tool turn answers.
        trains: whether an assistant turn may carry loss (`"weight": 0` in OpenAI files says no).
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    name: str | None = None
    tool_call_id: str | None = None
    trains: bool = True


@dataclass(frozen=True, slots=True)
class Conversation:
    """One usable row: either turns, or raw text.

    Args:
        messages: the turns; empty for raw text.
        row: number of the row it came from.
        tools: JSON schemas of the functions on offer.
        text: raw text that is trained on as it stands.
    """

    messages: tuple[Message, ...]
    row: int
    tools: tuple[Mapping[str, Any], ...] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RawRow:
    """One parsed row before its meaning is known."""

    row: int
    value: Mapping[str, Any]
