"""Conversation to token ids and loss mask: the one function behind training and the mask view.

A token carries loss when it lies inside an answer: after the role header, up to and including
the end-of-turn token. A token that merges header and answer belongs to the header, because the
model never gets to choose it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

from tokenizers import Encoding

from backprop_core.datasets.rows import Conversation, Role, RowCode, RowFault, RowProblem
from backprop_core.datasets.splitting import split_conversation
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.datasets.turns import CharSpan, Rendered

_BATCH: Final = 256

Overlength = Literal["truncate", "drop", "split"]


@dataclass(frozen=True, slots=True)
class TurnSpan:
    """Tokens `[start, end)` of one turn."""

    role: Role | Literal["text"]
    start: int
    end: int
    has_loss: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as the model sees it.

    Args:
        row: number of the row it came from.
        input_ids: token ids, `(seq,)`.
        labels_mask: True where a token carries loss, `(seq,)`.
        n_truncated: tokens cut off at the end.
        spans: the turns, in order.
        n_neutralized: control tokens inside the data that were broken.
        loses_reasoning: whether thinking in the data is not part of the text.
    """

    row: int
    input_ids: list[int]
    labels_mask: list[bool]
    n_truncated: int
    spans: tuple[TurnSpan, ...]
    n_neutralized: int = 0
    loses_reasoning: bool = False

    @property
    def n_loss(self) -> int:
        """Number of tokens that carry loss."""
        return self.labels_mask.count(True)


def encode(
    conversation: Conversation, tokenizer: ChatTokenizer, max_seq_length: int, train_on_responses: bool = True
) -> Encoded:
    """Return ids and loss mask of one conversation.

    Args:
        conversation: the row.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens kept; the rest is cut off.
        train_on_responses: loss on answers only; otherwise on every token.

    Raises:
        RowFault: the template refuses the row, or no token is left that carries loss.
    """
    result = next(encode_many([conversation], tokenizer, max_seq_length, train_on_responses))
    if isinstance(result, RowProblem):
        raise RowFault(result.code, result.reason)
    return result


def encode_many(
    conversations: Sequence[Conversation],
    tokenizer: ChatTokenizer,
    max_seq_length: int,
    train_on_responses: bool = True,
    overlength: Overlength = "truncate",
) -> Iterator[Encoded | RowProblem]:
    """Yield ids and mask, or the problem, of each conversation, in order.

    While one batch is tokenized, which needs no interpreter, the next one is rendered.

    Args:
        conversations: the rows.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens of one sequence.
        train_on_responses: loss on answers only; otherwise on every token.
        overlength: what happens to a longer row: its end is cut off, it becomes a problem, or it
            becomes several sequences that each begin with a question.
    """
    batches = [conversations[first : first + _BATCH] for first in range(0, len(conversations), _BATCH)]
    choices = _Choices(tokenizer, max_seq_length, train_on_responses, overlength)
    if len(batches) == 1:
        rendered = _render(batches[0], tokenizer)
        yield from _masked_batch(batches[0], rendered, tokenizer.encode_texts(_texts(rendered)), choices)
        return
    waiting: tuple[Sequence[Conversation], list[Rendered | RowProblem], Future[list[Encoding]]] | None = None
    with ThreadPoolExecutor(1) as pool:
        for batch in batches:
            rendered = _render(batch, tokenizer)
            encodings = pool.submit(tokenizer.encode_texts, _texts(rendered))
            if waiting is not None:
                yield from _masked_batch(waiting[0], waiting[1], waiting[2].result(), choices)
            waiting = (batch, rendered, encodings)
        if waiting is not None:
            yield from _masked_batch(waiting[0], waiting[1], waiting[2].result(), choices)


@dataclass(frozen=True, slots=True)
class _Choices:
    tokenizer: ChatTokenizer
    max_seq_length: int
    train_on_responses: bool
    overlength: Overlength


def _masked_batch(
    conversations: Sequence[Conversation],
    rendered: Sequence[Rendered | RowProblem],
    encodings: Sequence[Encoding],
    choices: _Choices,
) -> Iterator[Encoded | RowProblem]:
    following = iter(encodings)
    for conversation, item in zip(conversations, rendered, strict=True):
        if isinstance(item, RowProblem):
            yield item
            continue
        encoded = _masked(conversation, item, next(following), choices)
        if encoded.n_truncated and choices.overlength != "truncate":
            yield from _too_long(conversation, encoded, choices)
        else:
            yield encoded if True in encoded.labels_mask else _nothing_to_learn(encoded)


def _too_long(
    conversation: Conversation, encoded: Encoded, choices: _Choices
) -> Iterator[Encoded | RowProblem]:
    limit = choices.max_seq_length
    if choices.overlength == "drop":
        tokens = len(encoded.input_ids) + encoded.n_truncated
        yield RowProblem(
            conversation.row,
            RowCode.TOO_MANY_TOKENS,
            f"{tokens:,} tokens are more than the limit of {limit:,}",
        )
    elif conversation.text is not None:
        yield from _chunks(conversation, choices)
    else:
        parts = split_conversation(conversation, choices.tokenizer, limit)
        yield from encode_many(parts, choices.tokenizer, limit, choices.train_on_responses)


def _chunks(conversation: Conversation, choices: _Choices) -> Iterator[Encoded]:
    """Yield raw text in sequences of the chosen length; only the last ends with the end token."""
    ids = choices.tokenizer.encode_text(conversation.text or "")
    if choices.tokenizer.eos_id is not None:
        ids.append(choices.tokenizer.eos_id)
    for first in range(0, len(ids), choices.max_seq_length):
        chunk = ids[first : first + choices.max_seq_length]
        spans = (TurnSpan("text", 0, len(chunk), has_loss=True),)
        yield Encoded(conversation.row, chunk, [True] * len(chunk), 0, spans)


def _texts(rendered: Iterable[Rendered | RowProblem]) -> list[str]:
    return [item.text for item in rendered if isinstance(item, Rendered)]


def _render(conversations: Sequence[Conversation], tokenizer: ChatTokenizer) -> list[Rendered | RowProblem]:
    """Render the chats together; raw text stays as it is."""
    chats = iter(tokenizer.render_many([item for item in conversations if item.text is None]))
    return [next(chats) if item.text is None else Rendered(item.text, ()) for item in conversations]


def _masked(conversation: Conversation, rendered: Rendered, encoding: Encoding, choices: _Choices) -> Encoded:
    ids: list[int] = encoding.ids
    spans: tuple[TurnSpan, ...]
    if conversation.text is not None:
        if choices.tokenizer.eos_id is not None:
            ids.append(choices.tokenizer.eos_id)
        spans = (TurnSpan("text", 0, len(ids), has_loss=True),)
    else:
        spans = tuple(_token_span(span, encoding, len(ids)) for span in rendered.spans)
    everything = not choices.train_on_responses or conversation.text is not None
    mask = [everything] * len(ids)
    if not everything:
        for span in spans:
            if span.has_loss:
                mask[span.start : span.end] = [True] * (span.end - span.start)
    cut = max(0, len(ids) - choices.max_seq_length)
    if cut:
        del ids[choices.max_seq_length :], mask[choices.max_seq_length :]
        spans = _cut_spans(spans, choices.max_seq_length)
    return Encoded(conversation.row, ids, mask, cut, spans, rendered.n_neutralized, rendered.loses_reasoning)


def _token_span(span: CharSpan, encoding: Encoding, length: int) -> TurnSpan:
    """Return the tokens that begin inside a span of characters."""
    start = _first_token_from(encoding, span.start, length)
    end = _first_token_from(encoding, span.end, length)
    return TurnSpan(span.role, start, end, span.has_loss)


def _first_token_from(encoding: Encoding, position: int, length: int) -> int:
    """Return the first token that begins at or after a character.

    Some tokenizers leave blanks out of their offsets, so the next character that belongs to a
    token decides.
    """
    limit = _characters(encoding, length - 1)[1] if length else 0
    for character in range(position, limit):
        token = encoding.char_to_token(character)
        if token is not None:
            return int(token) + (_characters(encoding, token)[0] < position)
    return length


def _characters(encoding: Encoding, token: int) -> tuple[int, int]:
    return encoding.token_to_chars(token) or (0, 0)


def _cut_spans(spans: Sequence[TurnSpan], length: int) -> tuple[TurnSpan, ...]:
    return tuple(
        TurnSpan(span.role, span.start, min(span.end, length), span.has_loss)
        for span in spans
        if span.start < length
    )


def _nothing_to_learn(encoded: Encoded) -> RowProblem:
    reason = (
        f"every answer lies behind the first {len(encoded.input_ids):,} tokens"
        if encoded.n_truncated
        else "no token of this row would carry loss"
    )
    return RowProblem(encoded.row, RowCode.MASK_EMPTY, reason)
