"""What each format of an export writes into the stage of its job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.exports import (
    ADAPTER_FILE,
    BASE_FILE,
    MODELFILE,
    MODELFILE_SUFFIX,
    ExportFormat,
    ExportSpec,
)
from backprop_core.engine.base_gguf import cached_base
from backprop_core.engine.context import RunContext
from backprop_core.engine.export_files import OnBytes, WrittenFile, copy_files, link_or_copy, plain_files
from backprop_core.engine.merged_files import merged_bytes, write_merged
from backprop_core.errors import InputError
from backprop_core.gguf import (
    GgufReport,
    TensorDigest,
    export_adapter_gguf,
    export_gguf,
    read_adapter,
    why_merge_only,
)
from backprop_core.gguf.export import open_checkpoint
from backprop_core.gguf.names import canonical
from backprop_core.gguf.source import open_adapter
from backprop_core.shipping import Training, modelfile_of


@dataclass(frozen=True, slots=True)
class Work:
    """What the writer of a format needs.

    Attributes:
        model: folder of the base model, or of the whole model that is exported.
        adapter: folder of the adapter; None for a whole model.
        target: the file or folder to make, inside the stage.
    """

    context: RunContext
    spec: ExportSpec
    model: Path
    adapter: Path | None
    target: Path

    def bytes_written(self, total: int) -> OnBytes:
        """Return what a writer tells of each piece; it raises when the job shall end."""
        reporter, done = self.context.phase("exporting", self.target.name), 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            self.context.control.check()
            reporter.progress(min(done, total), total)

        return on_bytes


@dataclass(frozen=True, slots=True)
class Made:
    """What a writer wrote."""

    files: list[WrittenFile]
    tensors: tuple[TensorDigest, ...] = ()
    warnings: tuple[str, ...] = ()


def write_format(work: Work) -> Made:
    """Write the export in its format.

    Raises:
        BackpropagateError: it cannot be made.
        AttemptEnded: the job shall end.
    """
    return _WRITERS[work.spec.format](work)


def _write_lora(work: Work) -> Made:
    source = _adapter_of(work)
    open_adapter(source)
    parts = plain_files(source)
    total = sum(path.stat().st_size for path in parts)
    files.require_free(work.target.parent, total, "The export")
    work.target.mkdir()
    return Made(copy_files(parts, work.target, work.bytes_written(total)))


def _write_merged(work: Work) -> Made:
    checkpoint = open_checkpoint(work.model, work.adapter)
    total = merged_bytes(checkpoint)
    files.require_free(work.target.parent, total, "The export")
    work.target.mkdir()
    written = write_merged(checkpoint, work.target, work.bytes_written(total))
    return Made(written, warnings=checkpoint.warnings)


def _write_gguf(work: Work) -> Made:
    reporter = work.context.phase("exporting", work.target.name)
    report = export_gguf(
        work.model,
        work.target,
        work.spec.quantization or "",
        adapter_dir=work.adapter,
        name=work.spec.name,
        progress=lambda done, total, _: reporter.progress(done, total),
        should_cancel=work.context.control.is_unwanted,
    )
    warnings = _write_modelfile(work, work.target.with_name(work.target.name + MODELFILE_SUFFIX))
    return Made([_written(report)], report.tensors, (*report.warnings, *warnings))


def _write_ollama_adapter(work: Work) -> Made:
    """Write a folder with base and adapter as separate GGUF files; the base comes from the cache."""
    source, should_cancel = _adapter_of(work), work.context.control.is_unwanted
    if (reason := why_merge_only(read_adapter(source, canonical))) is not None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"This adapter cannot stand alone as GGUF: {reason}.",
            hint="Export it merged, with `--format gguf`.",
        )
    base = cached_base(work.context, work.model, work.spec.quantization or "", should_cancel)
    work.target.mkdir()
    link_or_copy(base.path, work.target / BASE_FILE, work.bytes_written(base.size_bytes))
    report = export_adapter_gguf(
        source, work.model, work.target / ADAPTER_FILE, name=work.spec.name, should_cancel=should_cancel
    )
    linked = WrittenFile(BASE_FILE, base.size_bytes, base.sha256)
    warnings = _write_modelfile(work, work.target / MODELFILE)
    return Made([linked, _written(report)], report.tensors, (*report.warnings, *warnings))


_WRITERS: Final[dict[ExportFormat, Callable[[Work], Made]]] = {
    "gguf": _write_gguf,
    "lora": _write_lora,
    "merged": _write_merged,
    "ollama-adapter": _write_ollama_adapter,
}


def _adapter_of(work: Work) -> Path:
    if work.adapter is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{work.spec.source} is a whole model and has no adapter of its own.",
            hint="Export it as gguf or merged.",
        )
    return work.adapter


def _write_modelfile(work: Work, path: Path) -> tuple[str, ...]:
    """Write the Modelfile of an export; return a warning when it cannot be written down."""
    try:
        text = modelfile_of(work.target, Training(work.spec.system, work.spec.trained_tokens))
    except InputError as error:
        return (f"No Modelfile was written: {error.message}",)
    files.write_text(path, text)
    return ()


def _written(report: GgufReport) -> WrittenFile:
    return WrittenFile(report.path.name, report.size_bytes, report.sha256)
