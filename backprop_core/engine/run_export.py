"""The recipe of an export job: find the base, write the files, put them in place, hand them to Ollama.

Needs no torch. The files appear together or not at all; what happens afterwards never takes them away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.exports import ExportFormat, ExportSpec
from backprop_core.engine.base_gguf import cached_base
from backprop_core.engine.context import RunContext
from backprop_core.engine.export_files import (
    OnBytes,
    WrittenFile,
    copy_files,
    link_or_copy,
    plain_files,
)
from backprop_core.engine.export_place import ExportPlace
from backprop_core.engine.merged_files import merged_bytes, write_merged
from backprop_core.engine.outcome import Outcome
from backprop_core.errors import BackpropagateError, InputError
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
from backprop_core.hub.download import resolve_model
from backprop_core.version import __version__

ADAPTER_FILE: Final = "adapter.gguf"
BASE_FILE: Final = "base.gguf"


@dataclass(frozen=True, slots=True)
class _Job:
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

    def should_cancel(self) -> bool:
        """Return whether the user or the system wants the job to end."""
        return self.context.control.is_interrupted or self.context.control.request() == "stop"


@dataclass(frozen=True, slots=True)
class _Made:
    """What a writer wrote."""

    files: list[WrittenFile]
    tensors: tuple[TensorDigest, ...] = ()
    warnings: tuple[str, ...] = ()


def run_export(context: RunContext) -> Outcome:
    """Export as the spec of the job says.

    Raises:
        BackpropagateError: with the code of what went wrong; nothing is left under the final name, but
            for DEP_OLLAMA_REGISTRATION_FAILED, when the files are whole and kept.
        AttemptEnded: the user or the system ended the job.
    """
    spec = context.folder.export_spec()
    home = context.slot_path.parent
    place = ExportPlace(Path(spec.output), context.info.run_id, home / "cache" / "export-locks")
    if not place.is_done():
        _make(context, spec, place)
    if spec.ollama_name is not None:
        _register(context, spec.ollama_name, place.final)
    return Outcome("completed", str(place.final))


def _make(context: RunContext, spec: ExportSpec, place: ExportPlace) -> None:
    began = time.monotonic()
    model, adapter = _parts(context, spec)
    with context.busy(), _cancelled_as_asked(context), place.staged() as stage:
        made = _WRITERS[spec.format](_Job(context, spec, model, adapter, stage / place.final.name))
        for warning in made.warnings:
            context.notice(warning, is_warning=True)
        report = _report(context, spec, made, time.monotonic() - began)
        files.write_json(stage / place.report.name, report)
        context.control.check()
        place.publish(stage)


def _parts(context: RunContext, spec: ExportSpec) -> tuple[Path, Path | None]:
    """Return the folder of the model, fetched when it is not here and needed, and that of the adapter."""
    source = Path(spec.source)
    if spec.base_model is None:
        return source, None
    if spec.format == "lora":
        return source, source
    reporter = context.phase("downloading", spec.base_model)
    base = resolve_model(
        spec.base_model,
        cache_dir=context.cache_dir,
        progress=lambda done, total, _: reporter.progress(done, total),
    )
    return base.path, source


def _write_lora(job: _Job) -> _Made:
    source = _adapter_of(job)
    open_adapter(source)
    parts = plain_files(source)
    total = sum(path.stat().st_size for path in parts)
    files.require_free(job.target.parent, total, "The export")
    job.target.mkdir()
    return _Made(copy_files(parts, job.target, job.bytes_written(total)))


def _write_merged(job: _Job) -> _Made:
    checkpoint = open_checkpoint(job.model, job.adapter)
    total = merged_bytes(checkpoint)
    files.require_free(job.target.parent, total, "The export")
    job.target.mkdir()
    written = write_merged(checkpoint, job.target, job.bytes_written(total))
    return _Made(written, warnings=checkpoint.warnings)


def _write_gguf(job: _Job) -> _Made:
    reporter = job.context.phase("exporting", job.target.name)
    report = export_gguf(
        job.model,
        job.target,
        job.spec.quantization or "",
        adapter_dir=job.adapter,
        name=job.spec.name,
        progress=lambda done, total, _: reporter.progress(done, total),
        should_cancel=job.should_cancel,
    )
    return _Made([_written(report)], report.tensors, report.warnings)


def _write_ollama_adapter(job: _Job) -> _Made:
    """Write a folder with base and adapter as separate GGUF files; the base comes from the cache."""
    source = _adapter_of(job)
    if (reason := why_merge_only(read_adapter(source, canonical))) is not None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"This adapter cannot stand alone as GGUF: {reason}.",
            hint="Export it merged, with `--format gguf`.",
        )
    base = cached_base(job.context, job.model, job.spec.quantization or "", job.should_cancel)
    job.target.mkdir()
    on_bytes = job.bytes_written(base.stat().st_size)
    link_or_copy(base, job.target / BASE_FILE, on_bytes)
    report = export_adapter_gguf(
        source, job.model, job.target / ADAPTER_FILE, name=job.spec.name, should_cancel=job.should_cancel
    )
    digest = files.sha256_of(base, progress=lambda _: job.context.control.check())
    linked = WrittenFile(BASE_FILE, base.stat().st_size, digest)
    return _Made([linked, _written(report)], report.tensors, report.warnings)


_WRITERS: Final[dict[ExportFormat, Callable[[_Job], _Made]]] = {
    "gguf": _write_gguf,
    "lora": _write_lora,
    "merged": _write_merged,
    "ollama-adapter": _write_ollama_adapter,
}


def _adapter_of(job: _Job) -> Path:
    if job.adapter is None:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{job.spec.source} is a whole model and has no adapter of its own.",
            hint="Export it as gguf or merged.",
        )
    return job.adapter


def _written(report: GgufReport) -> WrittenFile:
    return WrittenFile(report.path.name, report.size_bytes, report.sha256)


def _report(context: RunContext, spec: ExportSpec, made: _Made, seconds: float) -> dict[str, object]:
    """Return digests and provenance, for the proof and for people."""
    return {
        "schema_version": 1,
        "job_id": context.info.run_id,
        "file": Path(spec.output).name,
        "format": spec.format,
        "quantization": spec.quantization,
        "base_model": spec.base_model,
        "run_id": spec.run_id,
        "version": __version__,
        "created_at": context.clock.now().isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "size_bytes": sum(file.size_bytes for file in made.files),
        "files": [dataclasses.asdict(file) for file in made.files],
        "tensors": [dataclasses.asdict(tensor) for tensor in made.tensors],
        "warnings": list(made.warnings),
    }


@contextlib.contextmanager
def _cancelled_as_asked(context: RunContext) -> Iterator[None]:
    """End a cancelled export as the wish that cancelled it, not as a failure."""
    try:
        yield
    except BackpropagateError as error:
        if error.code == "RUNTIME_EXPORT_CANCELLED":
            context.control.check()
        raise


def _register(context: RunContext, name: str, output: Path) -> None:
    from backprop_core.ollama.register import register

    reporter = context.phase("registering", name)
    register(output, name, progress=lambda done, total, _: reporter.progress(done, total))
