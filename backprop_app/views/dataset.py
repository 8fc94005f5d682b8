"""The Dataset page in words: files, rows, the tokens of a row by turn, the same row as a chat."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import quote, urlencode

from backprop_app.views.form import shown_path
from backprop_core import units
from backprop_core.config.presets import find_preset
from backprop_core.datasets.detect import LABELS, Layout
from backprop_core.datasets.preview import ShownRow
from backprop_core.datasets.report import DatasetSummary, StructureSummary
from backprop_core.datasets.rows import Message
from backprop_core.datasets.shown_turns import Piece, ShownTurn
from backprop_core.services.datasets import FileEntry, RowsPage

NOTHING: Final = "–"
DEFAULT_LENGTH: Final = "2048"
FILTERS: Final = (("all", "All"), ("unusable", "Unusable"), ("long", "Too long"), ("repeated", "Duplicate"))

_WORDS: Final = 90
_HEADER_CHARS: Final = 12
_DRAWN_CHARS: Final = 12_000
_DRAWN_TURNS: Final = 120
_SHORT_LABELS: Final = {
    Layout.SHAREGPT: "ShareGPT",
    Layout.OPENAI: "OpenAI messages",
    Layout.ALPACA: "Alpaca",
    Layout.PROMPT_COMPLETION: "Prompt, completion",
    Layout.QUESTION_ANSWER: "Question, answer",
    Layout.TEXT: "Raw text",
    Layout.UNKNOWN: "Unknown",
}


@dataclass(frozen=True, slots=True)
class FileItem:
    """One line of the list of files."""

    path: str
    href: str
    name: str
    layout: str
    rows: str
    size: str
    place: str
    problem: str


@dataclass(frozen=True, slots=True)
class RowItem:
    """One line of the table of rows."""

    index: int
    number: str
    words: str
    tokens: str
    learns: str
    flag: str
    tone: str


@dataclass(frozen=True, slots=True)
class PieceView:
    """Neighbouring tokens that look alike; `css` says how."""

    text: str
    css: str


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn of the mask microscope."""

    role: str
    count: str
    pieces: list[PieceView]


@dataclass(frozen=True, slots=True)
class ChatView:
    """One turn as people read it."""

    role: str
    text: str
    aside: str


@dataclass(frozen=True, slots=True)
class MaskView:
    """The head and the foot of the microscope."""

    title: str = ""
    learns: str = ""
    ignored: str = ""
    cut: str = ""
    problem: str = ""
    note: str = ""
    rest: str = ""


def dataset_href(path: str | Path) -> str:
    """Return the address of the page of a file."""
    return f"/dataset?file={quote(str(path), safe='')}"


def file_item(entry: FileEntry) -> FileItem:
    """Return a line of the list."""
    return FileItem(
        path=str(entry.path),
        href=dataset_href(entry.path),
        name=entry.path.name,
        layout=short_label(entry.layout),
        rows=units.count(entry.rows) if entry.rows is not None else NOTHING,
        size=units.file_size(entry.size_bytes),
        place={"example": "Shipped", "yours": "Yours", "data folder": entry.path.parent.name}[entry.place],
        problem=entry.problem,
    )


def short_label(layout: str) -> str:
    """Return the short name of a row format, nothing for none."""
    return _SHORT_LABELS[Layout(layout)] if layout else ""


def files_text(items: Sequence[FileItem]) -> str:
    """Return what stands above the list: "5 files"."""
    return f"{len(items)} file{'' if len(items) == 1 else 's'}"


def first_lead(page: RowsPage) -> str:
    """Return the sentence beneath the name of a file, as far as its first rows tell."""
    found = page.detection
    return f"{LABELS[found.layout]}, as far as read."


def lead(facts: StructureSummary | DatasetSummary) -> str:
    """Return the sentence beneath the name of a file when every row was looked at."""
    if facts.confidence == 1:
        return f"{short_label(facts.layout)}, certain on {facts.rows:,} of {facts.rows:,} rows."
    return f"{facts.reason[:1].upper()}{facts.reason[1:]}."


def row_items(rows: Sequence[ShownRow], repeats: Mapping[int, int]) -> list[RowItem]:
    """Return the lines of the table.

    Args:
        rows: of the page.
        repeats: for the number of a row that says what another says, the number of that one.
    """
    return [_row_item(index, row, repeats) for index, row in enumerate(rows)]


def _row_item(index: int, row: ShownRow, repeats: Mapping[int, int]) -> RowItem:
    flag, tone = "", ""
    if row.problem is not None:
        flag, tone = "unusable", "danger"
    elif row.n_cut:
        flag, tone = "cut", "warn"
    elif row.row in repeats:
        flag, tone = f"like {repeats[row.row]:,}", "warn"
    return RowItem(
        index=index,
        number=units.count(row.row),
        words=first_words(row),
        tokens=units.count(len(row.tokens)) if row.tokens else NOTHING,
        learns=f"{100 * row.n_loss / len(row.tokens):.0f}{units.NBSP}%" if row.tokens else NOTHING,
        flag=flag,
        tone=tone,
    )


def first_words(row: ShownRow) -> str:
    """Return what tells a row from others: the first question, raw text, or what is wrong with it."""
    if row.text is not None:
        return " ".join(row.text[: 4 * _WORDS].split())[:_WORDS]
    for message in row.messages:
        if message.role != "system":
            return " ".join(message.content[: 4 * _WORDS].split())[:_WORDS]
    return row.problem.reason if row.problem is not None else ""


def rows_text(rows: Sequence[ShownRow], total: int, key: str) -> str:
    """Return which rows are shown: "41 to 60 of 18,204"."""
    if not rows:
        return "no row"
    if key != "all":
        return f"{len(rows):,} of them shown"
    of = f" of {total:,}" if total else ""
    return f"{rows[0].row:,} to {rows[-1].row:,}{of}"


def command(path: str, model: str, length: str) -> str:
    """Return what follows `backprop data` to do the same."""
    if not path:
        return "report FILE"
    words = ["report", shlex.quote(shown_path(path)), "-m", shlex.quote(model)]
    return " ".join([*words, *(["--max-seq-length", length] if length != DEFAULT_LENGTH else [])])


def operation_command(path: str, operation: str) -> str:
    """Return what follows `backprop data` to make such a version."""
    word = {"curriculum": "order"}.get(operation, operation)
    more = {"sample": " --rows 1000"}.get(operation, "")
    return f"{word} {shlex.quote(shown_path(path))}{more}" if path else "report FILE"


def report_href(path: str, model: str, length: str, heldout: str, *, learns_all: bool, kind: str) -> str:
    """Return the address of the report on a file, as a page or as JSON."""
    asked = {"file": path, "model": model, "max_seq_length": length, "heldout": heldout, "format": kind}
    return f"/api/data/report?{urlencode(asked | {'learns_all': str(learns_all).lower()})}"


def mask_view(
    row: ShownRow, turns: Sequence[ShownTurn], model: str, *, has_tokens: bool, learns_all: bool
) -> MaskView:
    """Return head and foot of the microscope for one row.

    Args:
        turns: its tokens by turn.
        model: whose template and tokens are shown.
        has_tokens: whether that model is on this machine.
        learns_all: whether every turn is trained on.
    """
    title = f"row {row.row:,}"
    problem = f"This row is left out: {row.problem.reason}." if row.problem is not None else ""
    if not has_tokens:
        note = f"Tokens and mask need {model_label(model)}, which must be fetched first. Rows and turns are shown."
        return MaskView(title, problem=problem, note=note)
    total = len(row.tokens)
    share = f", {100 * row.n_loss / total:.0f}{units.NBSP}%" if total else ""
    trained = "Every turn is trained on. " if learns_all else ""
    if any(piece.is_control and piece.kind == "loss" for turn in turns for piece in turn.pieces):
        trained += "The stop token is learnt. "
    return MaskView(
        title=title,
        learns=f"{row.n_loss:,} token{'' if row.n_loss == 1 else 's'}{share}",
        ignored=units.count(total - row.n_loss - row.n_cut),
        cut=units.count(row.n_cut),
        problem=problem,
        note=f"{trained}These are the labels the trainer will use, from the same code, with the template of "
        f"{model_label(model)}.",
        rest=_rest(sum(len(token.text) for token in row.tokens)),
    )


def _rest(chars: int) -> str:
    more = chars - _DRAWN_CHARS
    return f"{more:,} more characters of this row are not drawn." if more > 0 else ""


def model_label(model: str) -> str:
    """Return the short name of a model."""
    preset = find_preset(model)
    return preset.hub_id.rpartition("/")[2] if preset is not None else PurePath(model).name


def turn_views(turns: Sequence[ShownTurn]) -> list[TurnView]:
    """Return the turns of the microscope, as much of them as a page can draw."""
    left = _DRAWN_CHARS
    views = []
    for turn in turns[:_DRAWN_TURNS]:
        pieces = []
        for piece in turn.pieces:
            if left <= 0:
                break
            pieces.append(PieceView(_visible(piece, left), _css(piece)))
            left -= len(piece.text)
        views.append(TurnView(turn.role, units.count(turn.n_tokens), pieces))
    return views


def _css(piece: Piece) -> str:
    look = {"loss": "y", "cut": "c", "context": ""}[piece.kind]
    return f"ctl {look}".strip() if piece.is_control else look


def _visible(piece: Piece, limit: int) -> str:
    """Return text in which line ends can be seen; the one behind a header does not begin a line."""
    text = piece.text[:limit]
    if piece.kind == "context" and 0 <= text.find("\n") <= _HEADER_CHARS:
        head, _, text = text.partition("\n")
        return f"{head}↵ " + text.replace("\n", "↵\n").removesuffix("\n")
    return text.replace("\n", "↵\n").removesuffix("\n")


def chat_views(row: ShownRow) -> list[ChatView]:
    """Return a row as a chat; raw text is one turn."""
    if row.text is not None:
        return [ChatView("text", row.text[:_DRAWN_CHARS], "")]
    return [_chat_view(message) for message in row.messages[:_DRAWN_TURNS]]


def _chat_view(message: Message) -> ChatView:
    parts = [f"calls {call.name}" for call in message.tool_calls]
    if message.name:
        parts.append(message.name)
    if message.reasoning:
        parts.append(f"thinks {len(message.reasoning):,} characters")
    if not message.trains:
        parts.append("not trained on")
    return ChatView(message.role, message.content[:_DRAWN_CHARS], ", ".join(parts))
