"""All metadata of a GGUF file with its lists, for files whose head was checked before; see `reader`."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any, Final

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT: Final = 8
_ARRAY: Final = 9
_COUNTS_AT: Final = 16
_KEYS_AT: Final = 24
_U32: Final = struct.Struct("<I").unpack_from
_U64: Final = struct.Struct("<Q").unpack_from


def read_contents(path: Path) -> dict[str, Any]:
    """Return every key of a sound file: scalars, texts, and lists as tuples.

    Bytes of a text that are no UTF-8 come out as replacement characters.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found: dict[str, Any] = {}
        position = _KEYS_AT
        for _ in range(_U64(data, _COUNTS_AT)[0]):
            key, position = _text(data, position)
            found[key], position = _value(data, position + 4, _U32(data, position)[0])
        return found


def _value(data: mmap.mmap, position: int, kind: int) -> tuple[Any, int]:
    if kind == _TEXT:
        return _text(data, position)
    if kind != _ARRAY:
        values, position = _scalars(data, position, _SCALARS[kind], 1)
        return values[0], position
    item, length = _U32(data, position)[0], _U64(data, position + 4)[0]
    position += 12
    if item != _TEXT:
        return _scalars(data, position, _SCALARS[item], length)
    texts = []
    for _ in range(length):
        text, position = _text(data, position)
        texts.append(text)
    return tuple(texts), position


def _scalars(data: mmap.mmap, position: int, kind: str, count: int) -> tuple[tuple[Any, ...], int]:
    layout = struct.Struct(f"<{count}{kind}")
    return layout.unpack_from(data, position), position + layout.size


def _text(data: mmap.mmap, position: int) -> tuple[str, int]:
    begin = position + 8
    end = begin + _U64(data, position)[0]
    return data[begin:end].decode("utf-8", errors="replace"), end
