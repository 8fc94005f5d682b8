"""The base model of adapter exports as GGUF, quantized once per base and type and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from backprop_core import files
from backprop_core.config.exports import report_path
from backprop_core.engine.context import RunContext
from backprop_core.errors import StateError
from backprop_core.gguf import export_gguf


@dataclass(frozen=True, slots=True)
class BaseFile:
    """The GGUF file of a base model in the cache."""

    path: Path
    size_bytes: int
    sha256: str


def cached_base(
    context: RunContext, model: Path, quantization: str, should_cancel: Callable[[], bool]
) -> BaseFile:
    """Return the GGUF file of a base model, written now when it is not in the cache.

    Raises:
        BackpropagateError: the model cannot be exported, or the disk is full.
        AttemptEnded: the job shall end while another one writes the same file.
    """
    path = base_path(context.slot_path.parent / "cache" / "gguf", model, quantization)
    while (found := _whole(path)) is None:
        reporter = context.phase("exporting", path.name)
        try:
            report = export_gguf(
                model,
                path,
                quantization,
                progress=lambda done, total, _: reporter.progress(done, total),  # noqa: B023
                should_cancel=should_cancel,
            )
        except StateError as error:
            if error.code != "STATE_RUN_LOCKED":
                raise
            context.control.check()
            context.control.wait()
        else:
            files.write_json(report_path(path), {"size_bytes": report.size_bytes, "sha256": report.sha256})
    return found


def base_path(cache: Path, model: Path, quantization: str) -> Path:
    """Return where the GGUF file of a base model lies in the cache.

    The weights are known by their folder, names, sizes and times, so that nothing has to be read.
    """
    facts = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(model.iterdir())
        if path.suffix in {".safetensors", ".json"}
    ]
    key = hashlib.sha256(orjson.dumps([str(model.resolve()), facts])).hexdigest()[:16]
    return cache / f"{model.name[:60]}-{key}-{quantization}.gguf"


def _whole(path: Path) -> BaseFile | None:
    """Return the file when it has the size and the digest is known that its report tells."""
    try:
        report = files.read_json(report_path(path))
        size_bytes, sha256 = report["size_bytes"], report["sha256"]
        is_whole = path.stat().st_size == size_bytes
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return BaseFile(path, size_bytes, sha256) if is_whole else None
