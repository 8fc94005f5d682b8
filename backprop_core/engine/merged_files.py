"""A merged model as a safetensors folder, shard by shard, without ever holding the model.

Tensors that the adapter leaves alone are copied bit for bit; the others are merged in float32 and
rounded once to the type in which the base stores them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import orjson

from backprop_core import files
from backprop_core.engine.export_files import OnBytes, WrittenFile, copy_files
from backprop_core.errors import RunError
from backprop_core.gguf.export import Checkpoint
from backprop_core.gguf.floats import to_bfloat16, to_float16
from backprop_core.gguf.lora import EMBEDDING, OUTPUT
from backprop_core.gguf.names import canonical
from backprop_core.gguf.safetensors_header import StoredTensor, read_header
from backprop_core.gguf.source import FloatArray

_CHUNK_ELEMENTS: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 22
_RELEASE_BYTES: Final = 64 << 20
_ITEM_BYTES: Final = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_INDEX: Final = "model.safetensors.index.json"
_WEIGHTS: Final = "model.safetensors"
_TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor of a merged shard; `stored` is None for one that the base does not hold itself."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored: StoredTensor | None
    merged_from: str | None

    @property
    def size_bytes(self) -> int:
        if self.merged_from is None and self.stored is not None:
            return self.stored.size_bytes
        return prod(self.shape) * _ITEM_BYTES[self.dtype]


def merged_bytes(checkpoint: Checkpoint) -> int:
    """Return the bytes of the weights that `write_merged` writes."""
    return sum(part.size_bytes for parts in _plan(checkpoint).values() for part in parts)


def write_merged(checkpoint: Checkpoint, folder: Path, on_bytes: OnBytes) -> list[WrittenFile]:
    """Write a whole model folder: weights, configuration, tokenizer.

    Args:
        checkpoint: base and adapter.
        folder: an empty folder.
        on_bytes: receives the bytes of each piece; what it raises ends the work.

    Raises:
        RunError: RUNTIME_MERGE_EXPORT_FAILED, a merged value is no finite number.
    """
    plan = _plan(checkpoint)
    written = [
        _write_shard(checkpoint, shard, parts, folder / shard.name, on_bytes) for shard, parts in plan.items()
    ]
    if len(plan) > 1:
        written.append(_write_json(folder / _INDEX, _index(plan)))
    written.append(_write_json(folder / "config.json", _config(checkpoint)))
    generation = checkpoint.folder / "generation_config.json"
    extra = [checkpoint.tokenizer_folder / name for name in _TOKENIZER_FILES] + [generation]
    return written + copy_files([path for path in extra if path.is_file()], folder, on_bytes)


def _plan(checkpoint: Checkpoint) -> dict[Path, list[_Part]]:
    """Return what each shard of the base becomes."""
    source, adapter = checkpoint.source, checkpoint.adapter
    changed = set() if adapter is None else adapter.modules.keys() | adapter.replaced.keys()
    if checkpoint.config.is_tied:
        changed = changed | {OUTPUT}
    plan: dict[Path, list[_Part]] = {}
    seen = set()
    for shard in _shards(checkpoint.folder):
        parts = plan.setdefault(shard, [])
        for stored in read_header(shard):
            name = canonical(stored.name)
            if name is None or (name in source.names() and name not in changed):
                parts.append(_Part(stored.name, stored.dtype, stored.shape, stored, None))
            elif name in source.names():
                parts.append(_Part(stored.name, stored.dtype, source.shape(name), stored, name))
            seen.add(name)
    if OUTPUT in source.names() and OUTPUT not in seen:
        last = plan[max(plan)]
        dtype = next(part.dtype for parts in plan.values() for part in parts if _is_embedding(part.name))
        last.append(_Part(OUTPUT, dtype, source.shape(OUTPUT), None, OUTPUT))
    return plan


def _is_embedding(name: str) -> bool:
    return canonical(name) == EMBEDDING


def _shards(folder: Path) -> list[Path]:
    """Return the weight files of a folder that `open_checkpoint` has already checked."""
    index = folder / _INDEX
    if not index.is_file():
        return [folder / _WEIGHTS]
    return [folder / name for name in sorted(set(files.read_json(index)["weight_map"].values()))]


def _write_shard(
    checkpoint: Checkpoint, shard: Path, parts: list[_Part], target: Path, on_bytes: OnBytes
) -> WrittenFile:
    digest, size = hashlib.sha256(), 0

    with target.open("xb") as stream, shard.open("rb") as base:
        for piece in _pieces(checkpoint, parts, base):
            stream.write(piece)
            digest.update(piece)
            size += len(piece)
            on_bytes(len(piece))
        stream.flush()
        os.fsync(stream.fileno())
    return WrittenFile(target.name, size, digest.hexdigest())


def _pieces(checkpoint: Checkpoint, parts: list[_Part], base: IO[bytes]) -> Iterator[bytes]:
    """Yield a shard's bytes in order: header, then one tensor after another."""
    yield _header(parts)
    unreleased = 0
    for part in parts:
        if part.merged_from is None:
            assert part.stored is not None
            yield from _stored_bytes(base, part.stored)
            continue
        for rows in _merged_rows(checkpoint, part, part.merged_from):
            unreleased += rows.nbytes
            yield _packed(part, rows)
            if unreleased >= _RELEASE_BYTES:
                checkpoint.source.release()
                unreleased = 0


def _header(parts: list[_Part]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for part in parts:
        end = offset + part.size_bytes
        entries[part.name] = {"dtype": part.dtype, "shape": part.shape, "data_offsets": [offset, end]}
        offset = end
    text = orjson.dumps(entries)
    # Readers map the tensors, which begin at a multiple of eight.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _stored_bytes(base: IO[bytes], stored: StoredTensor) -> Iterator[bytes]:
    base.seek(stored.begin)
    left = stored.size_bytes
    while left:
        piece = base.read(min(left, _CHUNK_BYTES))
        if not piece:
            raise RunError("RUNTIME_MERGE_EXPORT_FAILED", f"The base ends inside {stored.name!r}.")
        left -= len(piece)
        yield piece


def _merged_rows(checkpoint: Checkpoint, part: _Part, name: str) -> Iterator[FloatArray]:
    rows = part.shape[0]
    step = rows if len(part.shape) == 1 else max(1, _CHUNK_ELEMENTS // prod(part.shape[1:]))
    for start in range(0, rows, step):
        values = checkpoint.source.rows(name, slice(start, min(rows, start + step)))
        if not np.isfinite(values).all():
            raise RunError(
                "RUNTIME_MERGE_EXPORT_FAILED",
                f"The merged tensor {part.name!r} holds a value that is not a finite number.",
                hint="Train again with a lower learning rate.",
            )
        yield values


def _packed(part: _Part, values: FloatArray) -> bytes:
    pack: Callable[[FloatArray], Any] = {
        "BF16": to_bfloat16,
        "F16": to_float16,
        "F32": lambda rows: rows,
        "F64": lambda rows: rows.astype(np.float64),
    }[part.dtype]
    return np.ascontiguousarray(pack(values)).tobytes()


def _index(plan: dict[Path, list[_Part]]) -> dict[str, Any]:
    return {
        "metadata": {"total_size": sum(part.size_bytes for parts in plan.values() for part in parts)},
        "weight_map": {part.name: shard.name for shard, parts in plan.items() for part in parts},
    }


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the base's configuration with what the adapter changed: vocabulary and tied matrices."""
    config: dict[str, Any] = files.read_json(checkpoint.folder / "config.json")
    changes: dict[str, Any] = {"vocab_size": checkpoint.source.shape(EMBEDDING)[0]}
    if checkpoint.config.is_tied and OUTPUT in checkpoint.source.names():
        changes["tie_word_embeddings"] = False
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            part.update({key: value for key, value in changes.items() if key in part})
    if "tie_word_embeddings" in changes:
        config["tie_word_embeddings"] = False
    return config


def _write_json(path: Path, value: Any) -> WrittenFile:
    files.write_json(path, value)
    return WrittenFile(path.name, path.stat().st_size, files.sha256_of(path))
