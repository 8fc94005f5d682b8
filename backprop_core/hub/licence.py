"""The licence of a base model, from the preset table, our cache, or the model's own card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from backprop_core.config.presets import find_preset
from backprop_core.hub.staging import read_marker

_CARD_BYTES: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9. +_-]{0,60}")
_FIELD: Final = re.compile(r"^license:\s*['\"]?([A-Za-z0-9][A-Za-z0-9. +_-]{0,60}?)['\"]?\s*$", re.MULTILINE)


def licence_of(name: str, folder: Path | None) -> tuple[str, str]:
    """Return the licence of a model and what must be known before shipping a derived one; empty when unknown.

    Args:
        name: as a run names it.
        folder: of the model, when it is here.
    """
    marker = read_marker(folder) if folder is not None else None
    preset = find_preset(name) or (find_preset(marker.id) if marker is not None else None)
    if preset is not None:
        return preset.licence, preset.licence_note
    if marker is not None and marker.licence and _NAME.fullmatch(marker.licence):
        return marker.licence, ""
    return (_named_by_card(folder / "README.md") if folder is not None else ""), ""


def _named_by_card(card: Path) -> str:
    try:
        with card.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_CARD_BYTES)
    except OSError:
        return ""
    _, separator, rest = text.partition("---\n")
    found = _FIELD.search(rest.partition("\n---")[0]) if separator else None
    return found.group(1) if found else ""
