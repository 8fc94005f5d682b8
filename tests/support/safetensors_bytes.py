"""A safetensors file in memory: one tensor of zeros, for tests that move files and load none."""

from __future__ import annotations

import json


def safetensors_bytes(values: int = 8) -> bytes:
    """Return a file with one bf16 tensor of `values` zeros."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [values], "data_offsets": [0, 2 * values]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(2 * values)
