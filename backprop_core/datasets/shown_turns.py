"""Tokens of a row laid out by turn, as the mask view draws them: one line of pieces per turn.

A template prints more than the turns say: headers, end tokens, a system turn of its own. Each such
token goes to the turn it introduces or ends; what stands before the first header of the data is the
template's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from backprop_core.datasets.mask import TurnSpan
from backprop_core.datasets.preview import ShownToken, TokenKind
from backprop_core.datasets.rows import Role

TEMPLATE: Final = "template"


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one kind; a control token is a piece of its own."""

    text: str
    kind: TokenKind
    is_control: bool


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """One turn with everything the template prints around it.

    Args:
        role: who speaks; `template` for what stands in no row, `text` for raw text.
        pieces: its tokens in order.
        n_tokens: how many tokens they are; `n_loss` of them carry loss.
    """

    role: Role | Literal["text", "template"]
    pieces: tuple[Piece, ...]
    n_tokens: int
    n_loss: int


def shown_turns(
    tokens: Sequence[ShownToken], spans: Sequence[TurnSpan], controls: Collection[str], end: str
) -> tuple[ShownTurn, ...]:
    """Return the tokens by turn; every token is in exactly one turn.

    Args:
        tokens: every token of the row.
        spans: the content of each turn, in order.
        controls: the control tokens of the model.
        end: the one that ends a turn, empty when there is none.
    """
    if not spans:
        return (_turn(TEMPLATE, tokens, controls),) if tokens else ()
    turns: list[ShownTurn] = []
    begin = _own_header(tokens, spans[0].start, controls, end)
    if begin:
        turns.append(_turn(TEMPLATE, tokens[:begin], controls))
    for span, following in zip(spans, [*spans[1:], None], strict=True):
        stop = len(tokens)
        if following is not None:
            stop = _next_header(tokens, span.end, following.start, controls, end)
        turns.append(_turn(span.role, tokens[begin:stop], controls))
        begin = stop
    return tuple(turns)


def _own_header(tokens: Sequence[ShownToken], start: int, controls: Collection[str], end: str) -> int:
    """Return where the first turn begins: behind the last turn that the template adds by itself."""
    ends = [index for index in range(start) if end and tokens[index].text == end]
    return _next_header(tokens, ends[-1], start, controls, end) if ends else 0


def _next_header(
    tokens: Sequence[ShownToken], first: int, last: int, controls: Collection[str], end: str
) -> int:
    """Return the first control token in `[first, last)` that does not end a turn, else `first`."""
    for index in range(first, last):
        if tokens[index].text in controls and tokens[index].text != end:
            return index
    return first


def _turn(
    role: Role | Literal["text", "template"], tokens: Sequence[ShownToken], controls: Collection[str]
) -> ShownTurn:
    n_loss = sum(token.kind == "loss" for token in tokens)
    return ShownTurn(role, tuple(_pieces(tokens, controls)), len(tokens), n_loss)


def _pieces(tokens: Sequence[ShownToken], controls: Collection[str]) -> Iterator[Piece]:
    for (kind, is_control), group in groupby(tokens, lambda token: (token.kind, token.text in controls)):
        if is_control:
            yield from (Piece(token.text, kind, is_control=True) for token in group)
        else:
            yield Piece("".join(token.text for token in group), kind, is_control=False)
