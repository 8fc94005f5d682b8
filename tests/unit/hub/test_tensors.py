from __future__ import annotations

import json

import numpy as np
import pytest

from backprop_core.hub.tensors import PlannedTensor, to_bfloat16, write_bfloat16


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (-2.0, 0xC000),
        (0.0, 0x0000),
        (1.00390625, 0x3F80),  # exactly between 0x3F80 and 0x3F81: the even one
        (1.01171875, 0x3F82),  # exactly between 0x3F81 and 0x3F82: the even one
        (1.00391, 0x3F81),  # just above the middle
    ],
)
def test_float32_is_rounded_to_the_nearest_bfloat16_ties_to_even(value, bits):
    assert to_bfloat16(np.array([value], dtype=np.float32))[0] == bits


def test_rounding_is_the_same_across_the_borders_of_its_blocks():
    values = np.full((1 << 20) + 3, 1.00391, dtype=np.float32)
    assert (to_bfloat16(values) == 0x3F81).all()


def test_the_file_reads_back_by_its_layout(tmp_path):
    done = []
    tensors = [
        PlannedTensor("a", (2, 2), lambda: np.ones((2, 2), dtype=np.float32)),
        PlannedTensor("b", (3,), lambda: np.array([1, -2, 0], dtype=np.float32)),
    ]
    write_bfloat16(tmp_path / "m.safetensors", tensors, done.append)
    raw = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert json.loads(raw[8 : 8 + length]) == {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]},
    }
    assert raw[8 + length :] == bytes.fromhex("803f803f803f803f" + "803f00c00000")
    assert length % 8 == 0
    assert done == [8, 14]


def test_a_tensor_of_another_shape_leaves_no_file(tmp_path):
    wrong = PlannedTensor("a", (4,), lambda: np.ones((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="a has shape"):
        write_bfloat16(tmp_path / "m.safetensors", [wrong], lambda done: None)
    assert list(tmp_path.iterdir()) == []
