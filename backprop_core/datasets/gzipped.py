"""Decompresses gzip streams in small pieces and stops when they grow beyond what was agreed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from backprop_core.datasets.source import CHUNK_BYTES, Limits
from backprop_core.errors import InputError

FREE_BYTES: Final = 64 << 20
_GZIP: Final = 16 + zlib.MAX_WBITS


def gunzip(chunks: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """Yield the decompressed stream; members that follow each other are joined.

    Raises:
        InputError: INPUT_DATASET_INVALID, it grows too large; INPUT_DATASET_PARSE_FAILED, it is damaged.
    """
    packed = unpacked = 0
    inflater = zlib.decompressobj(_GZIP)
    for chunk in chunks:
        packed += len(chunk)
        data = chunk
        while True:
            if inflater.eof and data:
                inflater = zlib.decompressobj(_GZIP)
            try:
                piece = inflater.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                raise InputError("INPUT_DATASET_PARSE_FAILED", "The gzip file is damaged.") from error
            unpacked += len(piece)
            check_expansion(packed, unpacked, limits)
            if piece:
                yield piece
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if not data and (inflater.eof or not piece):
                break
    if not inflater.eof:
        raise InputError("INPUT_DATASET_PARSE_FAILED", "The gzip file is cut off.")


def check_expansion(packed: int, unpacked: int, limits: Limits) -> None:
    """Raise when a compressed file has become larger than it may.

    Raises:
        InputError: INPUT_DATASET_INVALID.
    """
    if unpacked > min(limits.decoded_bytes, FREE_BYTES + packed * limits.expansion):
        raise InputError(
            "INPUT_DATASET_INVALID",
            f"The compressed file grows beyond {unpacked >> 20:,} MiB from {packed:,} bytes; it is refused.",
            hint="Decompress it yourself and look at what it holds.",
        )
