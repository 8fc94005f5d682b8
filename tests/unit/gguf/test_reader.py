"""Heads of GGUF files: ours pass, lying ones are refused fast and without memory."""

from __future__ import annotations

import resource
import struct
import time

import gguf
import pytest

from backprop_core.errors import InputError
from backprop_core.gguf import check_gguf, export_gguf, tensor_digest
from backprop_core.gguf.block_sizes import BLOCK_SIZES
from backprop_core.gguf.header import TensorEntry, f32, pack_header, text, u32
from backprop_core.gguf.types import TensorType
from tests.support.checkpoints import write_checkpoint

MAX = (1 << 63) - 1


def head(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def packed(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()


def tensor(name="t", shape=(32,), kind=0, offset=0) -> bytes:
    return packed(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def filled(raw: bytes, data: int = 0) -> bytes:
    return raw + bytes(-len(raw) % 32) + bytes(data)


HOSTILE = {
    "bad magic": b"GGUX" + head()[4:] + bytes(64),
    "too short": b"GGUF",
    "unknown version": head(version=9) + bytes(64),
    "huge tensor count": head(tensors=MAX) + bytes(64),
    "huge key count": head(keys=MAX) + bytes(64),
    "key of 2^63 bytes": head(keys=1) + struct.pack("<Q", 1 << 63) + bytes(64),
    "text of 2^63 bytes": head(keys=1) + packed("k") + struct.pack("<IQ", 8, 1 << 63) + bytes(64),
    "list of 2^63 numbers": head(keys=1) + packed("k") + struct.pack("<IIQ", 9, 4, 1 << 63) + bytes(64),
    "list of 2^63 texts": head(keys=1) + packed("k") + struct.pack("<IIQ", 9, 8, 1 << 63) + bytes(64),
    "list of more texts than bytes": head(keys=1)
    + packed("k")
    + struct.pack("<IIQ", 9, 8, 1 << 20)
    + bytes(64),
    "list of lists": head(keys=1) + packed("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(64),
    "unknown value kind": head(keys=1) + packed("k") + struct.pack("<I", 99) + bytes(64),
    "key that is no text": head(keys=1) + struct.pack("<Q", 2) + b"\xff\xfe" + bytes(64),
    "same key twice": head(keys=2) + (packed("k") + struct.pack("<II", 4, 1)) * 2 + bytes(64),
    "alignment of zero": head(keys=1) + packed("general.alignment") + struct.pack("<II", 4, 0) + bytes(64),
    "offset past the end": filled(head(1) + tensor(offset=1 << 40), 128),
    "offset off the alignment": filled(head(1) + tensor(offset=4), 256),
    "data cut short": filled(head(1) + tensor(), 100),
    "overlapping tensors": filled(head(2) + tensor("a") + tensor("b", offset=64), 256),
    "same tensor twice": filled(head(2) + tensor("a") + tensor("a", offset=128), 256),
    "seven dimensions": head(1) + tensor(shape=(1,) * 7) + bytes(64),
    "dimension of 2^63": head(1) + tensor(shape=(1 << 63,)) + bytes(64),
    "dimensions that overflow": head(1) + tensor(shape=(1 << 32, 1 << 32)) + bytes(64),
    "empty dimension": head(1) + tensor(shape=(0,)) + bytes(64),
    "unknown type": head(1) + tensor(kind=77) + bytes(64),
    "row that breaks a block": filled(head(1) + tensor(shape=(33,), kind=8), 256),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lying_head_is_refused_at_once_with_flat_memory(case, tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(HOSTILE[case])
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        check_gguf(path)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"
    assert time.perf_counter() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_list_of_millions_of_empty_texts_is_refused_before_it_is_walked(tmp_path):
    path = tmp_path / "x.gguf"
    with path.open("wb") as stream:
        stream.write(head(keys=1) + packed("k") + struct.pack("<IIQ", 9, 8, 1 << 26))
        stream.truncate(1 << 30)
    began = time.perf_counter()
    with pytest.raises(InputError, match="claims 67108864 texts"):
        check_gguf(path)
    assert time.perf_counter() - began < 1


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.gguf does not exist"):
        check_gguf(tmp_path / "gone.gguf")


def test_exported_file_passes_and_its_digests_agree(tmp_path):
    report = export_gguf(write_checkpoint(tmp_path / "m"), tmp_path / "m.gguf", "q4_k_m")
    structure = check_gguf(tmp_path / "m.gguf")
    found = {place.name: tensor_digest(structure.path, place) for place in structure.tensors}
    assert found == {digest.name: digest.sha256 for digest in report.tensors}
    assert structure.architecture == "llama"
    assert structure.metadata["llama.context_length"] == 512
    assert not structure.is_adapter


def test_truncated_export_is_refused(tmp_path):
    export_gguf(write_checkpoint(tmp_path / "m"), tmp_path / "m.gguf", "f16")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="lies outside the file"):
        check_gguf(tmp_path / "m.gguf")


def structure_of(tmp_path, names, **keys):
    metadata = {"general.architecture": text("phi3"), "phi3.context_length": u32(131072), **keys}
    entries = [TensorEntry(name, (8,), TensorType.F32) for name in names]
    (tmp_path / "m.gguf").write_bytes(pack_header(metadata, entries) + bytes(32 * len(names)))
    return check_gguf(tmp_path / "m.gguf")


def test_context_is_twice_the_trained_length(tmp_path):
    assert structure_of(tmp_path, ["a"]).context_for(2048) == 4096


def test_context_stays_within_the_model(tmp_path):
    structure = structure_of(tmp_path, ["a"], **{"phi3.context_length": u32(3000)})
    assert structure.context_for(2048) == 3000


def test_context_with_two_sets_of_rotary_factors_stays_within_the_short_one(tmp_path):
    keys = {"phi3.rope.scaling.original_context_length": u32(4096), "phi3.rope.scaling.attn_factor": f32(1.2)}
    structure = structure_of(tmp_path, ["rope_factors_long.weight", "rope_factors_short.weight"], **keys)
    assert structure.context_for(4000) == 4096


def test_block_sizes_are_those_of_the_format():
    assert {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()} == BLOCK_SIZES
