"""Safetensors files that lie are refused from their header; honest ones read exactly."""

from __future__ import annotations

import json
import resource
import struct
import time

import numpy as np
import pytest

from backprop_core.errors import InputError
from backprop_core.gguf.safetensors_header import read_header
from backprop_core.gguf.source import open_adapter, open_model
from tests.support.checkpoints import write_safetensors


def write_raw(path, header, data: bytes, length: int | None = None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE = {
    "header length of 2^62": ({"a": entry()}, bytes(8), 1 << 62),
    "header longer than the file": ({"a": entry()}, bytes(8), 5000),
    "no JSON": (b"{" * 64, bytes(8), None),
    "deep nesting": (b"[" * 100_000, bytes(8), None),
    "a list for a header": ([1], bytes(8), None),
    "overlapping tensors": ({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12), None),
    "a gap": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), None),
    "bytes behind the last tensor": ({"a": entry()}, bytes(12), None),
    "truncated data": ({"a": entry()}, bytes(4), None),
    "a shape that does not fill its bytes": ({"a": entry(shape=(3,))}, bytes(8), None),
    "a wider type than stored": ({"a": entry(dtype="F64")}, bytes(8), None),
    "an unknown type": ({"a": entry(dtype="PICKLE")}, bytes(8), None),
    "a negative dimension": ({"a": entry(shape=(-2,))}, bytes(8), None),
    "a dimension of 2^62": ({"a": entry(shape=(1 << 62, 4))}, bytes(8), None),
    "a boolean dimension": ({"a": entry(shape=(True, 2))}, bytes(8), None),
    "an end before its begin": ({"a": entry(offsets=(8, 0))}, bytes(8), None),
    "a missing field": ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), None),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lying_header_is_refused_at_once_with_flat_memory(case, tmp_path):
    header, data, length = HOSTILE[case]
    path = write_raw(tmp_path / "x.safetensors", header, data, length)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        read_header(path)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"
    assert time.perf_counter() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_file_of_seven_bytes_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"1234567")
    with pytest.raises(InputError):
        read_header(tmp_path / "x.safetensors")


def test_pickle_named_safetensors_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "ran"
    payload = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    (tmp_path / "adapter_model.safetensors").write_bytes(payload)
    with pytest.raises(InputError):
        open_adapter(tmp_path)
    assert not marker.exists()


def test_pickle_weights_are_refused_by_name(tmp_path):
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"adapter_model\.bin, a pickle"):
        open_adapter(tmp_path)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_values_come_back_as_float32(dtype, tmp_path):
    values = np.array([[1.0, -2.5], [0.15625, 3e4]], np.float32)
    write_safetensors(tmp_path / "model.safetensors", {"w": values}, dtype)
    source = open_model(tmp_path)
    expected = values if dtype != "BF16" else np.array([[1.0, -2.5], [0.15625, 29952]], np.float32)
    assert source.rows("w", slice(None)).tolist() == expected.tolist()
    assert source.dtype("w") == dtype


def test_rows_are_read_in_the_order_asked(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", {"w": np.arange(8).reshape(4, 2)})
    assert open_model(tmp_path).rows("w", np.array([3, 0])).tolist() == [[6, 7], [0, 1]]


def test_rows_stay_readable_after_release(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", {"w": np.arange(8).reshape(4, 2)})
    source = open_model(tmp_path)
    rows = source.rows("w", slice(0, 1))
    source.release()
    assert rows.tolist() == [[0, 1]]
    assert source.rows("w", slice(1, 2)).tolist() == [[2, 3]]


def test_shards_are_read_as_one_model(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {"w": np.ones((1, 2))})
    write_safetensors(tmp_path / "b.safetensors", {"v": np.zeros((1, 2))})
    index = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(open_model(tmp_path).names()) == {"w", "v"}


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "a.bin", 5])
def test_shard_names_that_leave_the_folder_are_refused(name, tmp_path):
    index = {"weight_map": {"w": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="no plain file name"):
        open_model(tmp_path)


def test_missing_shard_is_named(tmp_path):
    index = {"weight_map": {"w": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"lacks the shard b\.safetensors"):
        open_model(tmp_path)


def test_tensor_in_two_shards_is_refused(tmp_path):
    for name in "ab":
        write_safetensors(tmp_path / f"{name}.safetensors", {"w": np.ones((1, 2))})
    index = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="a second time"):
        open_model(tmp_path)
