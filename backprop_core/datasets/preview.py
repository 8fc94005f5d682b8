"""The first rows of a file as people look at them: turns, and every token with whether it carries loss.

The tokens come from `mask.encode`, the code that training uses; nothing is computed a second way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from backprop_core.datasets.convert import convert
from backprop_core.datasets.detect import Detection, detect
from backprop_core.datasets.mask import Encoded, TurnSpan, encode
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rows import Conversation, Message, RawRow, RowFault, RowProblem
from backprop_core.datasets.source import DEFAULT_LIMITS, Limits
from backprop_core.datasets.tokenizer import ChatTokenizer

_DETECTED_ROWS: Final = 200
_WHOLE: Final = 1 << 40

TokenKind = Literal["loss", "context", "cut"]


@dataclass(frozen=True, slots=True)
class ShownToken:
    """One token: its text, and whether it carries loss, is only context, or is cut off."""

    text: str
    kind: TokenKind


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row.

    Args:
        row: its number.
        messages: its turns; empty for raw text and unusable rows.
        text: raw text, when it is that.
        tokens: every token in order; empty for unusable rows.
        n_loss: tokens that carry loss and are not cut off.
        n_cut: tokens beyond the chosen length.
        problem: why it cannot be used.
        spans: which of the tokens are the content of which turn.
    """

    row: int
    messages: tuple[Message, ...] = ()
    text: str | None = None
    tokens: tuple[ShownToken, ...] = ()
    n_loss: int = 0
    n_cut: int = 0
    problem: RowProblem | None = None
    spans: tuple[TurnSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """Some rows of a file, and the format that its first rows have."""

    detection: Detection
    rows: tuple[ShownRow, ...]


def preview(
    path: Path,
    tokenizer: ChatTokenizer,
    max_seq_length: int,
    *,
    skip: int = 0,
    count: int = 20,
    train_on_responses: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Preview:
    """Return a page of rows; only as much of the file is read as that takes.

    Args:
        path: the data file.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens kept of each row.
        skip: rows to pass over, unusable ones counted.
        count: rows to return.
        train_on_responses: loss on answers only.
        limits: sizes at which reading stops.

    Raises:
        InputError: as `RowReader.batches`.
    """
    first = list(islice(read_rows(path, limits=limits), max(_DETECTED_ROWS, count)))
    detection = detect(row.value for row in first if isinstance(row, RawRow))
    found = first[:count] if not skip else list(islice(read_rows(path, limits=limits), skip, skip + count))
    rows = (show(row, tokenizer, max_seq_length, train_on_responses) for row in found)
    return Preview(detection, tuple(rows))


def show(
    row: RawRow | RowProblem,
    tokenizer: ChatTokenizer,
    max_seq_length: int,
    train_on_responses: bool = True,
) -> ShownRow:
    """Return one row with its tokens, or with what is wrong with it."""
    if isinstance(row, RowProblem):
        return ShownRow(row.row, problem=row)
    converted = convert(row.value, row.row)
    if isinstance(converted, RowProblem):
        return ShownRow(row.row, problem=converted)
    problem = None
    try:
        encode(converted, tokenizer, max_seq_length, train_on_responses)
    except RowFault as fault:
        problem = fault.at(row.row)
    try:
        whole = encode(converted, tokenizer, _WHOLE, train_on_responses)
    except RowFault:
        return ShownRow(row.row, converted.messages, converted.text, problem=problem)
    kept = whole.labels_mask[:max_seq_length]
    return ShownRow(
        row.row,
        converted.messages,
        converted.text,
        tuple(_tokens(converted, whole, tokenizer, max_seq_length)),
        kept.count(True),
        len(whole.labels_mask) - len(kept),
        problem,
        whole.spans,
    )


def _tokens(
    conversation: Conversation, whole: Encoded, tokenizer: ChatTokenizer, max_seq_length: int
) -> Iterator[ShownToken]:
    texts = _texts(conversation, whole, tokenizer)
    for index, (text, has_loss) in enumerate(zip(texts, whole.labels_mask, strict=True)):
        kind: TokenKind = "cut" if index >= max_seq_length else "loss" if has_loss else "context"
        yield ShownToken(text, kind)


def _texts(conversation: Conversation, whole: Encoded, tokenizer: ChatTokenizer) -> list[str]:
    """Return the text of each token; of a character that several tokens make, the first shows it."""
    text = conversation.text
    if text is None:
        [rendered] = tokenizer.render_many([conversation])
        text = "" if isinstance(rendered, RowProblem) else rendered.text
    [encoding] = tokenizer.encode_texts([text])
    texts = []
    shown = 0
    for start, end in encoding.offsets:
        texts.append(text[max(start, shown) : end] if end > shown else "")
        shown = max(shown, end)
    # Raw text gets an end token that stands in no text.
    texts += [tokenizer.token_text(token) for token in whole.input_ids[len(texts) :]]
    return texts
