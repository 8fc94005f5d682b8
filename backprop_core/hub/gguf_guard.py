"""A first walk over a GGUF file's header, so that a hostile one cannot make the reader loop or fill memory.

Checks magic, version, counts and every length against the bytes that the file really has. Gives no values.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

_COUNT_LIMIT: Final = 1 << 17
_STRING, _ARRAY = 8, 9
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_VERSIONS: Final = (2, 3)


def check_header(path: Path) -> None:
    """Walk the counts, keys and values of a GGUF file.

    Raises:
        ValueError: the file is no GGUF of version 2 or 3, or names more than it holds.
    """
    with path.open("rb") as stream:
        walk = _Walk(stream, path.stat().st_size)
        magic, version = walk.unpack("<4sI")
        if magic != b"GGUF" or version not in _VERSIONS:
            raise ValueError("no GGUF of version 2 or 3")
        tensors, pairs = walk.unpack("<QQ")
        if max(tensors, pairs) > _COUNT_LIMIT:
            raise ValueError(f"{tensors} tensors and {pairs} values are announced")
        for _ in range(pairs):
            walk.skip_string()
            walk.skip_value()


class _Walk:
    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def unpack(self, layout: str) -> tuple[Any, ...]:
        length = struct.calcsize(layout)
        self._take(length)
        return struct.unpack(layout, self._stream.read(length))

    def skip_string(self) -> None:
        self._skip(self.unpack("<Q")[0])

    def skip_value(self) -> None:
        (kind,) = self.unpack("<I")
        if kind == _STRING:
            self.skip_string()
        elif kind != _ARRAY:
            self._skip(_size_of(kind))
        else:
            self._skip_array()

    def _skip_array(self) -> None:
        item, count = self.unpack("<IQ")
        if item == _STRING:
            for _ in range(count):
                self.skip_string()
        else:
            self._skip(count * _size_of(item))

    def _skip(self, length: int) -> None:
        self._take(length)
        self._stream.seek(length, 1)

    def _take(self, length: int) -> None:
        if length > self._left:
            raise ValueError("the file ends before its header does")
        self._left -= length


def _size_of(kind: int) -> int:
    if kind not in _SIZES:
        raise ValueError(f"a value has the unknown type {kind}")
    return _SIZES[kind]
