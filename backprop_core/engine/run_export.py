"""The recipe of an export job: find the base, write the files, put them in place, hand them to Ollama.

Needs no torch but for the proof. The files appear together or not at all; what happens afterwards never
takes them away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.exports import ExportSpec, card_path
from backprop_core.engine.context import PhaseReporter, RunContext
from backprop_core.engine.export_formats import Made, Work, write_format
from backprop_core.engine.export_place import ExportPlace
from backprop_core.engine.outcome import Outcome
from backprop_core.engine.proof.in_export import prove_export
from backprop_core.errors import BackpropagateError
from backprop_core.hub.download import resolve_model
from backprop_core.model_card import write_card
from backprop_core.shipping import register_export
from backprop_core.version import __version__

_PROVABLE: Final = frozenset({"gguf", "ollama-adapter"})


def run_export(context: RunContext) -> Outcome:
    """Export as the spec of the job says.

    Raises:
        BackpropagateError: with the code of what went wrong; nothing is left under the final name, but
            for RUNTIME_EXPORT_PROOF_FAILED and DEP_OLLAMA_REGISTRATION_FAILED, when the files are whole
            and kept.
        AttemptEnded: the user or the system ended the job.
    """
    spec = context.folder.export_spec()
    home = context.slot_path.parent
    # The web app's jobs lie in `runs` of the folder that it writes to.
    root = context.folder.path.parents[1] if context.info.source == "page" else None
    place = ExportPlace(Path(spec.output), context.info.run_id, home / "cache" / "export-locks", root)
    if not place.is_done():
        _make(context, spec, place)
    if spec.wants_proof and spec.format in _PROVABLE:
        try:
            prove_export(context, place.final, *_parts(context, spec))
        finally:
            _write_card(context, spec, place.final)
    if spec.ollama_name is not None:
        _register(context, spec.ollama_name, place.final)
    return Outcome("completed", str(place.final))


def _make(context: RunContext, spec: ExportSpec, place: ExportPlace) -> None:
    began = time.monotonic()
    model, adapter = _parts(context, spec)
    with context.busy(), _cancelled_as_asked(context), place.staged() as stage:
        made = write_format(Work(context, spec, model, adapter, stage / place.final.name))
        for warning in made.warnings:
            context.notice(warning, is_warning=True)
        report = _report(context, spec, made, time.monotonic() - began)
        files.write_json(stage / place.report.name, report)
        _write_card(context, spec, stage / place.final.name)
        context.control.check()
        place.publish(stage)


def _write_card(context: RunContext, spec: ExportSpec, export: Path) -> None:
    """Write the model card, unless nobody wants one or the folder came with its own."""
    is_foreign = spec.format in {"lora", "merged"} and card_path(export).exists()
    if spec.wants_card and not is_foreign:
        write_card(export, context.cache_dir)


def _parts(context: RunContext, spec: ExportSpec) -> tuple[Path, Path | None]:
    """Return the folder of the model, fetched when it is not here and needed, and that of the adapter."""
    source = Path(spec.source)
    if spec.base_model is None:
        return source, None
    if spec.format == "lora":
        return source, source
    reporter: PhaseReporter | None = None

    def progress(done: int, total: int | None, phase: str) -> None:
        nonlocal reporter
        reporter = reporter or context.phase("downloading", spec.base_model or "")
        reporter.progress(done, total)

    return resolve_model(spec.base_model, cache_dir=context.cache_dir, progress=progress).path, source


def _register(context: RunContext, name: str, output: Path) -> None:
    reporter = context.phase("registering", name)

    def progress(done: int, total: int, phase: str) -> None:
        reporter.progress(done, total or None)

    with context.busy(), _cancelled_as_asked(context):
        registration = register_export(
            output, name, progress=progress, should_cancel=context.control.is_unwanted
        )
    for warning in registration.warnings:
        context.notice(warning, is_warning=True)


def _report(context: RunContext, spec: ExportSpec, made: Made, seconds: float) -> dict[str, object]:
    """Return digests and provenance, for the proof and for people."""
    return {
        "schema_version": 1,
        "job_id": context.info.run_id,
        "file": Path(spec.output).name,
        "name": spec.name,
        "format": spec.format,
        "quantization": spec.quantization,
        "source": spec.source,
        "base_model": spec.base_model,
        "run_id": spec.run_id,
        "evaluation": spec.evaluation,
        "version": __version__,
        "created_at": context.clock.now().isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "size_bytes": sum(file.size_bytes for file in made.files),
        "files": [dataclasses.asdict(file) for file in made.files],
        "tensors": [dataclasses.asdict(tensor) for tensor in made.tensors],
        "system": spec.system,
        "trained_tokens": spec.trained_tokens,
        "warnings": list(made.warnings),
    }


@contextlib.contextmanager
def _cancelled_as_asked(context: RunContext) -> Iterator[None]:
    """End work that fails after the wish to end it as that wish, not as a failure."""
    try:
        yield
    except BackpropagateError:
        context.control.check()
        raise
