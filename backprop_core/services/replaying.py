"""A new run from the settings of an old one. Makes the layers; `services.training` plans and starts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.config.resolve import Layer
from backprop_core.config.schema import train_field
from backprop_core.errors import InputError
from backprop_core.runs.store import RunSource
from backprop_core.services.runs import RunDetail

# How a text source says that a field has no value.
_NONE: Final = "none"


def replay_layers(old: RunDetail, overrides: Mapping[str, Any], *, source: RunSource) -> Sequence[Layer]:
    """Return the values of a new run: those of the old one, and above them what is overridden.

    Without an override every value is the old run's. With one, what had been worked out for the old run
    is worked out anew, so that a batch or an alpha suits the changed settings.

    Args:
        overrides: values by field name, as somebody typed them.
        source: the face that asks. The web app's own folder is no place for the runs of another face.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, the run is no training run; INPUT_VALIDATION_FAILED, it is a campaign.
    """
    if old.info.kind == "multi-run":
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"Run {old.state.short_id} is a campaign; it cannot be replayed as a single run.",
            hint="Start it again with `backprop multi-run` and a fresh --output.",
        )
    kept: dict[str, Any] = {}
    for name, value in old.training.model_dump().items():
        is_derived = old.origins[name].source == "derived"
        kept[name] = _asked_again(name) if overrides and is_derived else value
    if "steps" in overrides and "epochs" not in overrides:
        kept["epochs"] = None
    if source != old.info.source and "page" in {source, old.info.source}:
        del kept["output_dir"]
    values = {name: _NONE if value is None else value for name, value in kept.items()}
    note = f"run {old.state.short_id}"
    return [Layer("flag", values, note), Layer("flag", dict(overrides), f"override of {note}")]


def data_change(old: RunDetail, overrides: Mapping[str, Any]) -> str | None:
    """Return in a sentence that the data is no longer what the old run learned from; None when it is."""
    path = Path(old.training.dataset)
    if "dataset" in overrides or old.info.dataset_hash is None or not path.is_file():
        return None
    if files.sha256_of(path) == old.info.dataset_hash:
        return None
    return f"{path} has changed since run {old.state.short_id}; the new run learns from what is there now."


def _asked_again(name: str) -> Any:
    """Return what leaves a field to the planner."""
    return "auto" if "auto" in train_field(name).choices else None
