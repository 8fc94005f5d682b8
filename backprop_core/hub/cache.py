"""The models on this machine: our own cache, and the one that Hugging Face tools share.

Our cache holds one folder per model, each with a marker file. The shared cache is only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.presets import find_preset
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.hub import staging
from backprop_core.hub.model_folder import require_loadable
from backprop_core.hub.names import cache_name, is_hub_id
from backprop_core.hub.records import CachedModel
from backprop_core.platform import FileLock

_SHARED_PREFIX: Final = "models--"


def shared_cache_dir() -> Path:
    """Return the cache folder of Hugging Face tools, as their own variables set it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_models(cache_dir: Path, shared_dir: Path | None = None) -> list[CachedModel]:
    """Return every whole model on this machine, our own first, each sorted by id.

    Args:
        cache_dir: `<home>/cache/models`; need not exist.
        shared_dir: the cache of Hugging Face tools; theirs when not given.
    """
    own = sorted(_own_models(cache_dir), key=lambda model: model.id.casefold())
    shared = sorted(_shared_models(shared_dir or shared_cache_dir()), key=lambda model: model.id.casefold())
    return [*own, *shared]


def find_cached(name: str, cache_dir: Path, shared_dir: Path | None = None) -> CachedModel | None:
    """Return the cached model of a preset key or hub id, ours before the shared one."""
    preset = find_preset(name)
    hub_id = preset.hub_id if preset is not None else name
    for folder in _own_folders(hub_id, cache_dir):
        model = _own_model(folder)
        if model is not None:
            return model
    if not is_hub_id(hub_id):
        return None
    return _shared_model((shared_dir or shared_cache_dir()) / (_SHARED_PREFIX + cache_name(hub_id)))


def remove(name: str, cache_dir: Path, shared_dir: Path | None = None) -> int:
    """Delete a model of our own cache, or what an unfinished download of it left, and return its bytes.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when our cache has none of that name.
        StateError: STATE_RUN_LOCKED while another process fetches it.
    """
    preset = find_preset(name)
    hub_id = preset.hub_id if preset is not None else name
    for folder in _own_folders(hub_id, cache_dir):
        unfinished = staging.unfinished_dir(cache_dir, folder.name)
        present = [path for path in (folder, unfinished) if staging.is_ours(path)]
        if present:
            return _delete(present, cache_dir, folder.name)
    shared = find_cached(name, cache_dir, shared_dir)
    if shared is not None:
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"{hub_id} lies in the cache that Hugging Face tools share, which Backpropagate only reads.",
            hint=f"`hf cache rm model/{hub_id}` removes it for all of them.",
        )
    raise InputError("INPUT_MODEL_NOT_FOUND", f"No model {hub_id!r} is in {cache_dir}.")


def _delete(folders: list[Path], cache_dir: Path, name: str) -> int:
    lock = FileLock(cache_dir / f"{name}.lock")
    if not lock.acquire():
        raise StateError(
            "STATE_RUN_LOCKED",
            f"{name} is being fetched by another process.",
            hint="Wait until it is done, or stop it, then remove the model.",
        )
    try:
        size = sum(files.size_of_tree(folder) for folder in folders)
        for folder in folders:
            staging.discard(folder)
    finally:
        lock.release()
    return size


def _own_folders(hub_id: str, cache_dir: Path) -> list[Path]:
    """Return where a model may lie in our cache: under its preset key, its id, or a GGUF folder's name."""
    preset = find_preset(hub_id)
    names = [preset.key] if preset is not None else []
    if is_hub_id(hub_id):
        names.append(cache_name(hub_id))
    elif preset is None:
        names.extend(path.name for path in _marked(cache_dir) if path.name == hub_id)
    return [cache_dir / name for name in names]


def _marked(cache_dir: Path) -> Iterator[Path]:
    if cache_dir.is_dir():
        yield from (path.parent for path in cache_dir.glob(f"*/{staging.MARKER}"))


def _own_models(cache_dir: Path) -> Iterator[CachedModel]:
    for folder in _marked(cache_dir):
        model = _own_model(folder)
        if model is not None:
            yield model


def _own_model(folder: Path) -> CachedModel | None:
    marker = staging.read_marker(folder)
    if marker is None or folder.suffix in staging.PASSING_SUFFIXES or not staging.is_whole(folder, marker):
        return None
    return CachedModel(marker.id, folder, sum(marker.files.values()), marker.source, marker.revision)


def _shared_models(shared_dir: Path) -> Iterator[CachedModel]:
    if shared_dir.is_dir():
        for repository in shared_dir.glob(f"{_SHARED_PREFIX}*--*"):
            model = _shared_model(repository)
            if model is not None:
                yield model


def _shared_model(repository: Path) -> CachedModel | None:
    """Return the main snapshot of one repository of the shared cache when it is whole and loads no code."""
    hub_id = repository.name.removeprefix(_SHARED_PREFIX).replace("--", "/")
    try:
        revision = (repository / "refs" / "main").read_text().strip()
        folder = repository / "snapshots" / revision
        if not revision.isalnum() or not is_hub_id(hub_id):
            return None
        require_loadable(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except (OSError, ValueError, BackpropagateError):
        return None
    return CachedModel(hub_id, folder, size, "hf-cache", revision)
