"""The recipe of an export job: find the base, write the files, hand them to Ollama. Needs no torch."""

from __future__ import annotations

import shutil
from pathlib import Path

from backprop_core import files, platform
from backprop_core.config.exports import ExportSpec
from backprop_core.engine.context import PhaseReporter, RunContext
from backprop_core.engine.control import AttemptEnded
from backprop_core.engine.outcome import Outcome
from backprop_core.errors import InputError
from backprop_core.gguf import GgufReport, export_gguf
from backprop_core.hub.download import resolve_model

REPORT_SUFFIX = ".export.json"


def run_export(context: RunContext) -> Outcome:
    """Export as the spec of the job says.

    Raises:
        BackpropagateError: with the code of what went wrong; nothing is left under the final name.
        AttemptEnded: the user or the system ended the job.
    """
    spec = context.folder.export_spec()
    output = Path(spec.output)
    if output.exists():
        raise InputError("INPUT_OUTPUT_DIR_NOT_OURS", f"{output} exists already and is not replaced.")
    output.parent.mkdir(parents=True, exist_ok=True)
    if spec.format == "lora":
        _copy_adapter(context, Path(spec.source), output)
    else:
        report = _write_gguf(context, spec, output)
        _save_report(spec, report, output)
    if spec.ollama_name is not None:
        _register(context, spec.ollama_name, output)
    return Outcome("completed", str(output))


def _copy_adapter(context: RunContext, source: Path, output: Path) -> None:
    reporter = context.phase("exporting", output.name)
    total = files.size_of_tree(source)
    files.require_free(output.parent, total, "The export")
    staged = output.with_name(f"{output.name}.{context.info.launch_id[:8]}.partial")
    done = 0

    def copy(path: str, target: str) -> str:
        nonlocal done
        shutil.copy2(path, target)
        done += Path(target).stat().st_size
        reporter.progress(done, total)
        return target

    try:
        shutil.copytree(source, staged, copy_function=copy)
        platform.replace(staged, output)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    platform.sync_directory(output.parent)


def _write_gguf(context: RunContext, spec: ExportSpec, output: Path) -> GgufReport:
    model_dir, adapter_dir = _parts(context, spec)
    reporter = context.phase("exporting", output.name)

    def should_cancel() -> bool:
        return context.control.is_interrupted or context.control.request() == "stop"

    try:
        return export_gguf(
            model_dir,
            output,
            spec.quantization or "q4_k_m",
            adapter_dir=adapter_dir,
            name=spec.name,
            progress=lambda done, total, _: reporter.progress(done, total),
            should_cancel=should_cancel,
        )
    except Exception:
        # A cancelled export ends as the wish that cancelled it, not as a failure.
        context.control.check()
        raise


def _parts(context: RunContext, spec: ExportSpec) -> tuple[Path, Path | None]:
    """Return the folder of the base model, fetched when it is not here, and that of the adapter."""
    if spec.base_model is None:
        return Path(spec.source), None
    reporter: PhaseReporter = context.phase("downloading", spec.base_model)
    base = resolve_model(
        spec.base_model,
        cache_dir=context.cache_dir,
        progress=lambda done, total, _: reporter.progress(done, total),
    )
    return base.path, Path(spec.source)


def _save_report(spec: ExportSpec, report: GgufReport, output: Path) -> None:
    """Write digests and provenance beside the file, for the proof and for people."""
    files.write_json(
        output.with_name(output.name + REPORT_SUFFIX),
        {
            "schema_version": 1,
            "file": output.name,
            "size_bytes": report.size_bytes,
            "seconds": round(report.seconds, 3),
            "format": spec.format,
            "quantization": spec.quantization,
            "base_model": spec.base_model,
            "run_id": spec.run_id,
            "tensors": [
                {"name": t.name, "type": t.type, "size_bytes": t.size_bytes, "sha256": t.sha256}
                for t in report.tensors
            ],
        },
    )


def _register(context: RunContext, name: str, output: Path) -> None:
    from backprop_core.ollama.register import register

    reporter = context.phase("registering", name)
    register(output, name, progress=lambda done, total, _: reporter.progress(done, total))


__all__ = ["AttemptEnded", "run_export"]
