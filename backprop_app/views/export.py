"""What the Export page shows: sources, types side by side, the job, what was made and its proof."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from backprop_app.views.proofs import proof_mark
from backprop_app.views.runs import clock, progress_text, short_model
from backprop_core import units
from backprop_core.config.proofs import read_proof
from backprop_core.gguf import GgufForecast
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.services.exports import FinishedExport
from backprop_core.services.ollama import OllamaStatus

# The types of the table; the command takes a few more.
SHOWN_TYPES: Final = ("f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m", "q2_k")
FORMATS: Final = (
    ("gguf", "GGUF"),
    ("lora", "Adapter"),
    ("merged", "Merged"),
    ("ollama-adapter", "Ollama adapter"),
)
FORMAT_NOTES: Final = {
    "gguf": "One file with the adapter merged in, for llama.cpp, Ollama and LM Studio.",
    "lora": "The adapter as a PEFT folder with its tokenizer, for tools that load LoRA.",
    "merged": "The whole model as safetensors with the adapter merged in, for transformers and vLLM.",
    "ollama-adapter": "Base and adapter as two GGUF files. The base is written once, then seconds each time.",
}

_PHASES: Final = {
    "downloading": "Fetching the base model",
    "exporting": "Writing",
    "proving": "Proving the file",
    "registering": "Handing it to Ollama",
    "loading": "Loading the models",
    "tokenizing": "Reading the held-out rows",
    "evaluating": "Asking both models",
    "pushing": "Sending to the hub",
}
_WORST: Final = "q2_k"


@dataclass(frozen=True, slots=True)
class SourceItem:
    """A run that can be exported."""

    run_id: str
    short_id: str
    name: str
    about: str


@dataclass(frozen=True, slots=True)
class TypeItem:
    """A row of the table of types."""

    key: str
    size: str
    bits: str
    time: str
    quality: str
    is_poor: bool
    is_made: bool


@dataclass(frozen=True, slots=True)
class JobView:
    """The export, proof or push that works or ended last; `job_id` is empty when there is none."""

    job_id: str = ""
    kind: str = ""
    short_id: str = ""
    name: str = ""
    status: str = ""
    phase: str = ""
    percent: float = 0.0
    percent_text: str = ""
    is_open: bool = False
    is_bad: bool = False
    message: str = ""
    hint: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class ExportItem:
    """A finished export; `run_line` and `href` are empty where there is none."""

    job_id: str
    name: str
    path: str
    made: str
    size: str
    took: str
    ollama: str
    run_line: str
    href: str
    proof: str = ""
    proof_tone: str = ""
    is_provable: bool = False


@dataclass(frozen=True, slots=True)
class OllamaView:
    """The server as the page sees it."""

    is_known: bool = False
    is_running: bool = False
    text: str = "Looking for Ollama"


def source_item(state: RunState, now: datetime) -> SourceItem:
    """Return a run for the list of sources."""
    steps = f"{units.count(state.step)} steps"
    when = clock(datetime.fromisoformat(state.ended_at), now) if state.ended_at else ""
    about = ", ".join(part for part in (short_model(state.model), steps, when) if part)
    return SourceItem(state.run_id, state.short_id, state.name, about)


def type_items(forecasts: Sequence[GgufForecast], made: Collection[str]) -> list[TypeItem]:
    """Return the rows of the table.

    Args:
        forecasts: of the types shown, f16 among them.
        made: types that were exported from this source already.
    """
    f16 = next((forecast.size_bytes for forecast in forecasts if forecast.quantization == "f16"), 0)
    return [
        TypeItem(
            key=forecast.quantization,
            size=units.file_size(forecast.size_bytes),
            bits=f"{16 * forecast.size_bytes / f16:.1f}" if f16 else "–",
            time=units.duration(forecast.seconds),
            quality=forecast.quality,
            is_poor=forecast.quantization == _WORST,
            is_made=forecast.quantization in made,
        )
        for forecast in forecasts
    ]


def unknown_types() -> list[TypeItem]:
    """Return the rows while the base model is not here and nothing can be worked out."""
    from backprop_core.gguf import QUANTIZATIONS

    return [
        TypeItem(key, "–", "–", "–", QUANTIZATIONS[key].quality, key == _WORST, is_made=False)
        for key in SHOWN_TYPES
    ]


def job_view(state: RunState) -> JobView:
    """Return what the page says about an export job."""
    share = state.phase_done / state.phase_total if state.phase_done and state.phase_total else 0.0
    error = state.error
    return JobView(
        job_id=state.run_id,
        kind=state.kind,
        short_id=state.short_id,
        name=state.name,
        status=state.status,
        phase="Waiting for its turn" if state.status == "queued" else _PHASES.get(state.phase, "Starting"),
        percent=round(100 * share, 1),
        percent_text=progress_text(state),
        is_open=state.status in ACTIVE or state.status == "queued",
        is_bad=state.status in {"failed", "interrupted"},
        message=error["message"] if error else "",
        hint=error["hint"] if error else "",
        code=error["code"] if error else "",
    )


def export_item(export: FinishedExport, now: datetime, *, can_download: bool) -> ExportItem:
    """Return the row of a finished export."""
    name = export.spec.ollama_name or ""
    is_provable = export.spec.quantization is not None
    tone, word = proof_mark(read_proof(export.path)) if is_provable else ("", "")
    return ExportItem(
        job_id=export.job_id,
        name=export.path.name,
        path=str(export.path),
        made=clock(datetime.fromisoformat(export.ended_at), now) if export.ended_at else "",
        size=units.file_size(export.size_bytes),
        took=units.duration(export.seconds),
        ollama=f"in Ollama as {name}" if export.is_registered else "not registered",
        run_line=f"ollama run {name}" if export.is_registered else "",
        href=f"/api/exports/{export.job_id}/download" if can_download else "",
        proof=word,
        proof_tone=tone,
        is_provable=is_provable,
    )


def ollama_view(status: OllamaStatus) -> OllamaView:
    """Return what the page says about the server."""
    if status.is_running:
        return OllamaView(is_known=True, is_running=True, text=f"Ollama {status.version} at {status.url}")
    return OllamaView(is_known=True, is_running=False, text=status.problem)


def needs_text(needed_bytes: int, free_bytes: int) -> str:
    """Return what the export takes and what there is."""
    if not needed_bytes:
        return f"The base model is fetched first; {units.file_size(free_bytes)} are free."
    return f"Needs {units.file_size(needed_bytes)}, {units.file_size(free_bytes)} are free."


def command_twin(
    short_id: str, format: str, quantization: str, name: str, ollama_name: str, *, wants_proof: bool = True
) -> str:
    """Return the arguments of the command that does the same."""
    words = [short_id, "--format", format]
    if format in {"gguf", "ollama-adapter"}:
        words += ["--quantization", quantization]
    if name:
        words += ["--name", shlex.quote(name)]
    if ollama_name:
        words += ["--ollama-name", shlex.quote(ollama_name)]
    if not wants_proof and format in {"gguf", "ollama-adapter"}:
        words.append("--no-proof")
    return " ".join(words)


def python_twin(
    short_id: str, format: str, quantization: str, name: str, ollama_name: str, *, wants_proof: bool = True
) -> str:
    """Return the line of Python that does the same; empty where there is none."""
    function = {"gguf": "export_gguf", "lora": "export_lora", "merged": "export_merged"}.get(format)
    if function is None:
        return ""
    words = [f'"{short_id}"'] + ([f'"{quantization}"'] if format == "gguf" else [])
    words += [f"name={name!r}"] if name else []
    words += [f"ollama_name={ollama_name!r}"] if ollama_name else []
    words += ["proof=False"] if not wants_proof and format == "gguf" else []
    return f"{function}({', '.join(words)})"
