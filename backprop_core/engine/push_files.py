"""Which files of an export, an adapter or a model go to the hub, and under which names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.exports import CARD_FILE, MODELFILE, MODELFILE_SUFFIX, card_path
from backprop_core.config.pushes import PushSpec
from backprop_core.engine.export_files import plain_files
from backprop_core.errors import InputError
from backprop_core.hub.hub_fetch import WANTED
from backprop_core.model_card import gather, render_card

_ADAPTER_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = (".safetensors", ".gguf")
_HIDDEN: Final = ("run_id",)


def pushed_files(spec: PushSpec, cache_dir: Path) -> dict[str, Path | bytes]:
    """Return the content by its name in the repository; a model card is written when there is none.

    Args:
        cache_dir: where prepared base models lie.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND, there are no weights to push.
    """
    path = Path(spec.path)
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if not any(name.endswith(_WEIGHTS) for name in found):
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"{path} holds neither safetensors nor GGUF weights.",
            hint="Name an exported file or folder, or the adapter of a run.",
        )
    if CARD_FILE not in found:
        found[CARD_FILE] = render_card(gather(path, cache_dir)).encode()
    if spec.base is not None:
        base = Path(spec.base)
        wanted = {part for pattern in WANTED for part in base.glob(pattern) if part.is_file()}
        found |= {f"base/{part.name}": part for part in sorted(wanted)}
    return found


def _of_file(path: Path) -> dict[str, Path | bytes]:
    if not path.is_file():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{path} does not exist.")
    found: dict[str, Path | bytes] = {path.name: path}
    beside = {CARD_FILE: card_path(path), MODELFILE: path.with_name(path.name + MODELFILE_SUFFIX)}
    return found | {name: part for name, part in beside.items() if part.is_file()}


def _of_folder(path: Path) -> dict[str, Path | bytes]:
    found: dict[str, Path | bytes] = {
        part.name: part for part in plain_files(path) if part.name not in _HIDDEN
    }
    if _ADAPTER_CONFIG in found:
        found[_ADAPTER_CONFIG] = _without_local_path(path / _ADAPTER_CONFIG)
    return found


def _without_local_path(config: Path) -> bytes:
    """Return an adapter's configuration; a base that is a folder of this machine keeps only its name."""
    values = files.read_json(config)
    base = values.get("base_model_name_or_path")
    if isinstance(base, str) and Path(base).is_absolute():
        values["base_model_name_or_path"] = Path(base).name
    return json.dumps(values, indent=2).encode()
