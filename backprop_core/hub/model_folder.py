"""What a model folder must hold before anything loads it: safe config, whole weights, a tokenizer.

Nothing in a folder may name code to run, and weights must be safetensors. Reads headers only, never
tensors, and never unpickles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from backprop_core.errors import DependencyError

_CONFIG_LIMIT_BYTES: Final = 4 << 20
_HEADER_LIMIT_BYTES: Final = 100 << 20
_PICKLE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")
_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
_REMOTE_CODE_FIELDS: Final = ("auto_map", "trust_remote_code", "custom_pipelines")

# Of an adapter: they name a module that its library imports.
_ADAPTER_CODE_FIELDS: Final = ("auto_mapping", "megatron_config", "megatron_core", "runtime_config")
# The default that every saved adapter carries.
_OWN_MEGATRON: Final = "megatron.core"

SINGLE_WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a model folder, after refusing fields that could load code.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED when it is missing, unreadable, or names code of a
            repository (`auto_map`, `trust_remote_code`, attention or kernel implementations).
    """
    config = _read_json_object(folder / "config.json")
    _refuse_code(config, folder / "config.json")
    return config


def require_loadable(folder: Path) -> None:
    """Check that `folder` can be loaded as a base model without running code from it.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED naming what is missing, damaged or refused.
    """
    if not (folder / "config.json").is_file():
        raise _failed(folder, *_why_no_config(folder))
    read_config(folder)
    if (folder / "tokenizer_config.json").is_file():
        path = folder / "tokenizer_config.json"
        _refuse_code(_read_json_object(path), path)
    for weights in weight_files(folder):
        check_safetensors(weights)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise _failed(folder, "has no tokenizer.", "Save the tokenizer beside the weights.")


def require_plain_adapter(folder: Path) -> None:
    """Check that the config of an adapter names no code to load.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED naming the field.
    """
    path = folder / "adapter_config.json"
    config = _read_json_object(path)
    _refuse_code(config, path)
    for field in _ADAPTER_CODE_FIELDS:
        if config.get(field) not in (None, False, {}, _OWN_MEGATRON):
            raise _code_in(path, field)


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder, all of them present.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED when there are none, one is missing, or only pickles exist.
    """
    index = folder / WEIGHTS_INDEX
    if index.is_file():
        mapping = _read_json_object(index).get("weight_map")
        names = set(mapping.values()) if isinstance(mapping, dict) else set()
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise _failed(folder, f"has a {WEIGHTS_INDEX} that lists no weights.", "Fetch the model again.")
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing:
            raise _failed(
                folder, f"lacks {missing[0]}, which {WEIGHTS_INDEX} lists.", "Fetch the model again."
            )
        return [folder / name for name in sorted(names)]
    if (folder / SINGLE_WEIGHTS).is_file():
        return [folder / SINGLE_WEIGHTS]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _PICKLE_SUFFIXES)
    raise (
        pickle_only(str(folder), pickles)
        if pickles
        else _failed(folder, "has no safetensors weights.", "Name a folder that holds model.safetensors.")
    )


def pickle_only(where: str, names: list[str]) -> DependencyError:
    """Return the error for a model whose weights are only there as pickles such as `names`."""
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"{where} has its weights only as {names[0]}, a format that can run code when it is opened.",
        hint="Use a version of the model with safetensors weights, or convert it where you trust the file.",
    )


def check_safetensors(path: Path) -> None:
    """Check that header and length of a safetensors file agree, reading the header only.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED when the file is damaged, cut short or something else.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_HEADER_LIMIT_BYTES, size - 8):
            raise _failed(path, "is no safetensors file.", "Fetch the model again.")
        header = stream.read(length)
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        is_whole = max(ends, default=0) == size - 8 - length
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise _failed(path, "has a damaged header.", "Fetch the model again.") from error
    if not is_whole:
        raise _failed(path, "is cut short or longer than its header says.", "Fetch the model again.")


def _refuse_code(value: Any, path: Path, trail: str = "") -> None:
    """Walk a config and raise at the first field that names code to load."""
    if isinstance(value, list):
        for item in value:
            _refuse_code(item, path, trail)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        field = f"{trail}{key}"
        if (key in _REMOTE_CODE_FIELDS and item not in (None, False, {})) or _names_repository(key, item):
            raise _code_in(path, field)
        _refuse_code(item, path, f"{field}.")


def _code_in(path: Path, field: str) -> DependencyError:
    return _failed(
        path,
        f"has the field {field!r}, which loads code from a repository.",
        "Backpropagate never runs code of a model; use a model that transformers supports by itself.",
    )


def _names_repository(key: str, value: Any) -> bool:
    """Return whether an implementation or kernel field points to code elsewhere.

    Plain names (`eager`, `sdpa`) and sizes (`conv_kernel: 4`) are harmless; a repository has a slash.
    """
    lowered = key.lower()
    if "implementation" not in lowered and "kernel" not in lowered:
        return False
    if isinstance(value, dict):
        return any(_names_repository(key, item) for item in value.values())
    if isinstance(value, list):
        return any(_names_repository(key, item) for item in value)
    return isinstance(value, str) and ("/" in value or ":" in value)


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _CONFIG_LIMIT_BYTES and path.name != WEIGHTS_INDEX:
            raise _failed(path, "is larger than 4 MB.", "Fetch the model again.")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _failed(path, f"cannot be read: {error}.", "Fetch the model again.") from error
    if not isinstance(value, dict):
        raise _failed(path, "is not a JSON object.", "Fetch the model again.")
    return value


def _why_no_config(folder: Path) -> tuple[str, str]:
    if (folder / "adapter_config.json").is_file():
        return (
            "is an adapter, not a base model.",
            "Name its base model, and the adapter with `--from-adapter`.",
        )
    return "has no config.json.", "Name the folder that holds config.json, the tokenizer and the safetensors."


def _failed(path: Path, what: str, hint: str) -> DependencyError:
    return DependencyError("DEP_MODEL_LOAD_FAILED", f"{path} {what}", hint=hint)
