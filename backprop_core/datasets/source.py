"""Opens a data file without surprises and yields it as UTF-8 bytes in bounded pieces.

Knows encodings, byte-order marks, counted bytes and the digest. Knows nothing of rows.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from backprop_core.errors import InputError

CHUNK_BYTES: Final = 1 << 18
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)
_BINARY: Final = getattr(os, "O_BINARY", 0)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader accepts before it stops; counted while reading, never taken from a header.

    Args:
        row_bytes: bytes of one row.
        decoded_bytes: bytes of the whole file after decompression.
        rows: rows of the file.
        columns: columns of a table.
        expansion: how many times larger than itself a compressed file may become, beyond 64 MiB.
    """

    row_bytes: int = 1 << 20
    decoded_bytes: int = 4 << 30
    rows: int = 5_000_000
    columns: int = 1_000
    expansion: int = 200


DEFAULT_LIMITS: Final = Limits()


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular, non-empty file for reading.

    The open never waits: a FIFO, a device or a folder is refused at once.

    Raises:
        InputError: INPUT_DATASET_NOT_FOUND, INPUT_DATASET_FORMAT_UNSUPPORTED or INPUT_DATASET_INVALID.
    """
    shown = path.name or str(path)
    try:
        fd = os.open(path, os.O_RDONLY | _NONBLOCK | _BINARY)
    except (OSError, ValueError) as error:
        # Windows answers "permission denied" for a folder.
        if isinstance(error, PermissionError) and path.is_dir():
            raise _not_a_file(shown) from error
        raise InputError(
            "INPUT_DATASET_NOT_FOUND", f"The data file {shown!r} does not exist or cannot be read."
        ) from error
    before = os.fstat(fd)
    # A folder cannot even be wrapped into a stream, so the kind is judged first.
    if not stat.S_ISREG(before.st_mode):
        os.close(fd)
        raise _not_a_file(shown)
    with os.fdopen(fd, "rb", buffering=0) as stream:
        if before.st_size == 0:
            raise InputError("INPUT_DATASET_INVALID", f"The data file {shown!r} is empty (0 bytes).")
        yield stream
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise InputError(
                "INPUT_DATASET_INVALID",
                f"The data file {shown!r} changed while it was read.",
                hint="Wait until the other program has finished writing, then start again.",
            )


def _not_a_file(shown: str) -> InputError:
    return InputError(
        "INPUT_DATASET_FORMAT_UNSUPPORTED",
        f"{shown!r} is a folder, a device or a pipe, not a data file.",
        hint="Name one file: .jsonl, .json, .csv, .parquet, .txt or .md.",
    )


class ByteCounter:
    """Counts and hashes the bytes of a file as they pass."""

    def __init__(self, *, digest: bool = True) -> None:
        self.bytes_read = 0
        self._digest = hashlib.sha256() if digest else None

    def add(self, chunk: bytes) -> None:
        """Count one piece."""
        self.bytes_read += len(chunk)
        if self._digest is not None:
            self._digest.update(chunk)

    @property
    def sha256(self) -> str:
        """The digest of everything counted so far, or an empty string when it was not asked for."""
        return "" if self._digest is None else self._digest.hexdigest()


def raw_chunks(stream: IO[bytes], limits: Limits, counter: ByteCounter) -> Iterator[bytes]:
    """Yield the bytes of a file, counted, about 256 KiB at a time.

    Raises:
        InputError: INPUT_DATASET_INVALID past the size limit.
    """
    while chunk := stream.read(CHUNK_BYTES):
        counter.add(chunk)
        if counter.bytes_read > limits.decoded_bytes:
            raise InputError(
                "INPUT_DATASET_INVALID",
                f"The data is larger than {limits.decoded_bytes / 1e9:.1f} GB.",
                hint="Split it with `backprop data split`, or raise the limit.",
            )
        yield chunk


def utf8_chunks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield a stream as UTF-8 without byte-order mark.

    UTF-16 and UTF-32 are recognised by their mark, or by the zero bytes of an unmarked file.
    UTF-8 is passed through unchecked: the row that holds a bad byte is named by its parser.

    Raises:
        InputError: INPUT_DATASET_PARSE_FAILED, a UTF-16 or UTF-32 file does not decode.
    """
    first = next(chunks, b"")
    encoding, mark = sniff_encoding(first)
    if encoding == "utf-8":
        yield first[mark:]
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(first[mark:]).encode()
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise InputError(
            "INPUT_DATASET_PARSE_FAILED",
            f"The file looks like {encoding.upper()} but does not decode as such.",
        ) from error


def sniff_encoding(head: bytes) -> tuple[str, int]:
    """Return the encoding of a file by its first bytes, and the length of its byte-order mark."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    # JSON and CSV begin with an ASCII character, whose UTF-16 form has one zero byte.
    if len(head) >= 4 and head[0] and not head[1] and head[2] and not head[3]:
        return "utf-16-le", 0
    if len(head) >= 4 and not head[0] and head[1] and not head[2] and head[3]:
        return "utf-16-be", 0
    return "utf-8", 0
