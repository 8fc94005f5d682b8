from __future__ import annotations

import struct

import pytest

from backprop_core.hub.gguf_guard import check_header
from tests.support.small_gguf import write_small_gguf


def _header(tensors=0, pairs=1, magic=b"GGUF", version=3):
    return struct.pack("<4sIQQ", magic, version, tensors, pairs)


KEY = struct.pack("<Q", 1) + b"k"


def test_a_whole_file_passes(tmp_path):
    check_header(write_small_gguf(tmp_path / "m.gguf"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "ends before"),
        (_header(magic=b"GGML"), "no GGUF"),
        (_header(version=1), "no GGUF"),
        (_header(tensors=1 << 60), "announced"),
        (_header(pairs=1 << 60), "announced"),
        (_header() + struct.pack("<Q", 1 << 63) + b"k", "ends before"),
        (_header() + KEY + struct.pack("<I", 77), "unknown type 77"),
        (_header() + KEY + struct.pack("<IIQ", 9, 4, 1 << 62) + b"1234", "ends before"),
        (_header() + KEY + struct.pack("<IIQ", 9, 8, 1 << 62) + b"1234", "ends before"),
        (_header() + KEY + struct.pack("<IIQ", 9, 9, 1 << 62) + b"1234", "unknown type 9"),
    ],
)
def test_a_header_that_names_more_than_the_file_holds_is_refused(tmp_path, content, reason):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        check_header(tmp_path / "m.gguf")
