"""Pieces, scores and kinds of a SentencePiece vocabulary, from its protobuf file or from `tokenizer.json`.

Only the three fields per piece that a GGUF file stores are read; the file is small enough to be
walked by hand, which spares a dependency.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core.errors import InputError

_FILE_BYTES_MAX: Final = 64 << 20
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary; `kind` uses SentencePiece's numbers, which GGUF shares."""

    text: str
    score: float
    kind: int


def read_pieces(path: Path) -> list[Piece]:
    """Return the vocabulary of a `tokenizer.model` file in id order.

    Raises:
        InputError: the file is not a SentencePiece model.
    """
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise _not_a_model(path)
    try:
        pieces = [
            _piece(raw)
            for number, raw in _fields(path.read_bytes())
            if number == 1 and isinstance(raw, bytes)
        ]
    except (ValueError, IndexError, struct.error) as error:
        raise _not_a_model(path) from error
    if not pieces:
        raise _not_a_model(path)
    return pieces


def pieces_from_merges(vocabulary: Sequence[str], merges: Sequence[Any]) -> list[Piece]:
    """Return pieces whose scores make a SentencePiece engine merge in the order of a merge list.

    Such an engine joins the pair whose result scores highest, a merge list the pair that stands first;
    a score of minus the place of the first merge that yields a piece makes both agree.

    Args:
        vocabulary: the token of each id.
        merges: `"a b"` texts or `["a", "b"]` pairs, best first.
    """
    place: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        joined = "".join(merge.split(" ")) if isinstance(merge, str) else "".join(merge)
        place.setdefault(joined, rank)
    return [_scored(token, place) for token in vocabulary]


def is_byte_piece(token: str) -> bool:
    """Return whether a token stands for one raw byte, for example `<0x0A>`."""
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _scored(token: str, place: Mapping[str, int]) -> Piece:
    if is_byte_piece(token):
        return Piece(token, 0.0, BYTE)
    return Piece(token, -float(place.get(token, len(place))), NORMAL)


def _piece(raw: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(raw):
        if number == 1 and isinstance(value, bytes):
            text = value.decode()
        elif number == 2 and isinstance(value, bytes):
            score = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield field number and value of each protobuf field: whole numbers, or raw bytes."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        wire = tag & 7
        if wire == _VARINT:
            number, position = _varint(raw, position)
            yield tag >> 3, number
            continue
        if wire == _BYTES:
            length, position = _varint(raw, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if position + length > len(raw):
            raise ValueError("field past the end")
        yield tag >> 3, raw[position : position + length]
        position += length


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, position
        if shift > 63:
            raise ValueError("number too long")


def _not_a_model(path: Path) -> InputError:
    return InputError("INPUT_VALIDATION_FAILED", f"{path.name} is not a SentencePiece model.")
