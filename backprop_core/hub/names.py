"""What the name of a model means, decided without looking at the network.

A name is a preset key, an id `owner/name` of the hub, a folder, or a GGUF file. Pure but for one
question to the disk: whether a folder of that name exists.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from backprop_core.config.presets import MODEL_PRESETS, ModelPreset, find_preset
from backprop_core.errors import InputError

_PART: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
_HUB_ID: Final = re.compile(rf"{_PART}/{_PART}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name, understood.

    Attributes:
        kind: `hub` for presets and hub ids, `folder` or `gguf` for paths.
        value: the hub id, or the path as given.
        preset: the preset of that name, when there is one.
    """

    kind: Literal["hub", "folder", "gguf"]
    value: str
    preset: ModelPreset | None = None


def is_hub_id(text: str) -> bool:
    """Return whether `text` is a well-formed `owner/name` of the hub."""
    return (
        bool(_HUB_ID.fullmatch(text))
        and not any(bad in text for bad in ("..", "--"))
        and not text.endswith(".git")
    )


def cache_name(hub_id: str) -> str:
    """Return the folder name of a hub id; ids hold no `--`, so two ids never share one."""
    return hub_id.replace("/", "--")


def understand(name: str) -> ModelName:
    """Return what `name` stands for: a preset first, then a path, then a hub id.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when it can be none of them.
    """
    preset = find_preset(name)
    if preset is not None:
        return ModelName("hub", preset.hub_id, preset)
    if not name or _CONTROL.search(name) or _SCHEME.match(name) or len(name) > 4096:
        raise _unusable(name)
    if name.lower().endswith(".gguf"):
        return ModelName("gguf", name)
    if name.startswith((".", "~", "/", "\\")) or Path(name).is_absolute() or Path(name).is_dir():
        return ModelName("folder", name)
    if is_hub_id(name):
        return ModelName("hub", name)
    raise _unusable(name)


def _unusable(name: str) -> InputError:
    keys = [preset.key for preset in MODEL_PRESETS]
    near = difflib.get_close_matches(name.lower(), keys, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return InputError(
        "INPUT_MODEL_NOT_FOUND",
        f"{name[:200]!r} is no preset, no folder and no hub id.{meant}",
        hint=f"Use owner/name from the hub, a folder, or a preset: {', '.join(keys)}.",
    )
