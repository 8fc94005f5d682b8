"""Says which format a file has by looking at many of its rows, with confidence and reason.

One row is judged by its column names and, for chats, by the names inside its first turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Layout(StrEnum):
    """The row formats that Backpropagate reads."""

    SHAREGPT = "sharegpt"
    OPENAI = "openai"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt_completion"
    QUESTION_ANSWER = "question_answer"
    TEXT = "text"
    UNKNOWN = "unknown"


CHAT_COLUMNS: Final = ("conversations", "messages", "conversation", "chat", "dialogue", "dialog")
PROMPT_COLUMNS: Final = ("prompt", "input", "query")
COMPLETION_COLUMNS: Final = ("completion", "response", "output", "chosen")
QUESTION_COLUMNS: Final = ("question", "q", "Question")
ANSWER_COLUMNS: Final = ("answer", "a", "Answer", "response", "output")
INSTRUCTION_ANSWERS: Final = ("output", "response", "completion", "answer")
TEXT_COLUMNS: Final = ("text", "content")

LABELS: Final[Mapping[Layout, str]] = {
    Layout.SHAREGPT: "ShareGPT conversations (from/value)",
    Layout.OPENAI: "OpenAI messages (role/content)",
    Layout.ALPACA: "Alpaca (instruction/input/output)",
    Layout.PROMPT_COMPLETION: "prompt and completion",
    Layout.QUESTION_ANSWER: "question and answer",
    Layout.TEXT: "raw text",
    Layout.UNKNOWN: "unknown",
}


@dataclass(frozen=True, slots=True)
class Detection:
    """What the looked-at rows say about the format.

    Args:
        layout: the format of most rows.
        confidence: share of looked-at rows in that format, 0 to 1.
        reason: one sentence for people.
        counts: rows per format, most frequent first.
        is_mixed: whether more than one known format occurs.
    """

    layout: Layout
    confidence: float
    reason: str
    counts: tuple[tuple[Layout, int], ...]
    is_mixed: bool


def first_of(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first of `names` that is a column of `row`."""
    for name in names:
        if name in row:
            return name
    return None


def layout_of(row: Mapping[str, Any]) -> Layout:
    """Return the format of one row."""
    chat = first_of(row, CHAT_COLUMNS)
    if chat is not None:
        return _chat_layout(chat, row[chat])
    if "instruction" in row and first_of(row, INSTRUCTION_ANSWERS):
        return Layout.ALPACA
    if first_of(row, QUESTION_COLUMNS) and first_of(row, ANSWER_COLUMNS):
        return Layout.QUESTION_ANSWER
    if first_of(row, PROMPT_COLUMNS) and first_of(row, COMPLETION_COLUMNS):
        return Layout.PROMPT_COMPLETION
    if first_of(row, TEXT_COLUMNS):
        return Layout.TEXT
    return Layout.UNKNOWN


def _chat_layout(column: str, turns: Any) -> Layout:
    if isinstance(turns, list):
        for turn in turns:
            if isinstance(turn, Mapping):
                if "from" in turn or "value" in turn:
                    return Layout.SHAREGPT
                if "role" in turn or "content" in turn:
                    return Layout.OPENAI
    return Layout.OPENAI if column == "messages" else Layout.SHAREGPT


def detect(rows: Iterable[Mapping[str, Any]]) -> Detection:
    """Judge the format of a file by its rows.

    Args:
        rows: the rows to look at, at best a few thousand.
    """
    return summarize_layouts(Counter(layout_of(row) for row in rows))


def summarize_layouts(counter: Counter[Layout]) -> Detection:
    """Return the verdict for a count of rows per format."""
    total = counter.total()
    if not total:
        return Detection(Layout.UNKNOWN, 0.0, "no row could be read", (), is_mixed=False)
    counts = tuple(counter.most_common())
    # A file with known rows is judged by them: unknown ones are reported row by row.
    known = [(layout, n) for layout, n in counts if layout is not Layout.UNKNOWN]
    layout, hits = known[0] if known else counts[0]
    confidence = hits / total if layout is not Layout.UNKNOWN else 0.0
    return Detection(
        layout, confidence, _reason(layout, hits, total, counts), counts, is_mixed=len(known) > 1
    )


def _reason(layout: Layout, hits: int, total: int, counts: Sequence[tuple[Layout, int]]) -> str:
    if layout is Layout.UNKNOWN:
        return f"none of {total:,} rows has columns of a known format"
    sentence = f"{hits:,} of {total:,} rows are {LABELS[layout]}"
    rest = [f"{n:,} {LABELS[other]}" for other, n in counts if other is not layout]
    return f"{sentence}; the others: {', '.join(rest)}" if rest else sentence
