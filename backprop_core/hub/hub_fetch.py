"""A model fetched from the hub into our cache: safetensors, configs and tokenizer, never code or pickles.

The files gather in one unfinished folder, so that a later try takes up whole files from it. The token
is sent only for models that need one.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backprop_core import files
from backprop_core.config.presets import ModelPreset
from backprop_core.errors import BackpropagateError, DependencyError, InputError, RunError
from backprop_core.hub import staging
from backprop_core.hub.model_folder import pickle_only, read_config, require_loadable
from backprop_core.hub.names import cache_name
from backprop_core.hub.progress_bar import progress_bar
from backprop_core.hub.records import Progress
from backprop_core.hub.site import HubSite
from backprop_core.redact import redact

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

WANTED: Final = [
    "model*.safetensors",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
    "vocab.txt",
    "LICENSE*",
]
UNWANTED: Final = ["*/*"]
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_RESERVE_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model as the hub describes it.

    Attributes:
        id: owner and name.
        commit: hash of the newest commit of `main`.
        licence: as the model card names it.
        size_bytes: of the files that would be fetched.
        token: what to send for it; False sends nothing, True the saved login.
    """

    id: str
    commit: str
    licence: str | None
    size_bytes: int
    token: str | bool


def look_up(hub_id: str, site: HubSite, token: str | None) -> HubModel:
    """Ask the hub about a model, anonymously first, and check that its files can be used.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND when the hub does not know it.
        DependencyError: DEP_MODEL_LOAD_FAILED when it is gated, has only pickles, or no answer came.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    secret = token or saved_token()
    with _causes_named(hub_id, site, has_token=secret is not None):
        try:
            info = _model_info(hub_id, site, False)
            needs_token = bool(info.gated)
        except RepositoryNotFoundError:
            if secret is None:
                raise
            info = _model_info(hub_id, site, secret)
            needs_token = True
    if needs_token and secret is None:
        raise _gated(hub_id, site, has_token=False)
    names = {item.rfilename: item.size or 0 for item in info.siblings or []}
    wanted = {name: size for name, size in names.items() if _is_wanted(name)}
    if not any(name.endswith(".safetensors") for name in wanted):
        pickles = sorted(
            name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in _PICKLES)
        )
        if pickles:
            raise pickle_only(hub_id, pickles)
        raise _no_weights(hub_id, [name for name in names if name.endswith(".gguf")])
    return HubModel(
        hub_id,
        info.sha or "main",
        _licence(info),
        sum(wanted.values()),
        secret if needs_token and secret else False,
    )


def download(
    model: HubModel, cache_dir: Path, site: HubSite, preset: ModelPreset | None, progress: Progress
) -> Path:
    """Fetch a model into `cache_dir` and return its folder.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED with the cause, or when a file of it is refused.
        RunError: RUNTIME_DISK_FULL.
    """
    name = cache_name(model.id)
    target = cache_dir / name
    with staging.exclusive(cache_dir, name, progress):
        marker = staging.read_marker(target)
        if marker is not None and staging.is_whole(target, marker):
            return target
        unfinished = _open_unfinished(cache_dir, name)
        missing = max(0, model.size_bytes - files.size_of_tree(unfinished))
        files.require_free(cache_dir, missing + _RESERVE_BYTES, model.id)
        with _causes_named(model.id, site, has_token=model.token is not False):
            # The small files come first: a model that is refused costs no weights.
            _snapshot(model, unfinished, site, ["config.json", "tokenizer_config.json"], progress)
            if preset is not None:
                _drop_code_fields(unfinished)
            read_config(unfinished)
            _snapshot(model, unfinished, site, WANTED, progress)
        shutil.rmtree(unfinished / ".cache", ignore_errors=True)
        require_loadable(unfinished)
        staging.publish(
            unfinished, target, model_id=model.id, source="hub", revision=model.commit, licence=model.licence
        )
    return target


def _open_unfinished(cache_dir: Path, name: str) -> Path:
    """Return the folder that gathers a download, emptied of torn files of an earlier try."""
    folder = staging.unfinished_dir(cache_dir, name)
    folder.mkdir(mode=0o700, exist_ok=True)
    files.write_json(folder / staging.UNFINISHED, {"schema_version": 1})
    for torn in folder.glob(".cache/**/*.incomplete"):
        torn.unlink()
    return folder


def _snapshot(model: HubModel, folder: Path, site: HubSite, wanted: list[str], progress: Progress) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(
        model.id,
        revision=model.commit,
        local_dir=folder,
        endpoint=site.endpoint,
        token=model.token,
        allow_patterns=wanted,
        ignore_patterns=UNWANTED,
        tqdm_class=progress_bar(lambda done, total: progress(done, total, "downloading")),
    )


def _drop_code_fields(folder: Path) -> None:
    """Take `auto_map` out of the configs of a preset.

    Our presets are architectures that transformers has itself; some of their repositories also carry an
    older Python copy, which is neither fetched nor wanted.
    """
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        if path.is_file():
            config = json.loads(path.read_bytes())
            if isinstance(config, dict) and config.pop("auto_map", None) is not None:
                files.write_json(path, config)


def saved_token() -> str | None:
    """Return the login of Hugging Face tools, unless the user told them not to use it unasked."""
    from huggingface_hub import constants, get_token

    return None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()


def _is_wanted(name: str) -> bool:
    return "/" not in name and any(fnmatch.fnmatch(name, pattern) for pattern in WANTED)


def _model_info(hub_id: str, site: HubSite, token: str | bool) -> ModelInfo:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=site.endpoint, token=token)
    return api.model_info(hub_id, revision="main", files_metadata=True, timeout=site.probe_s)


def _licence(info: ModelInfo) -> str | None:
    card: Any = info.card_data
    licence = card.get("license") if card is not None else None
    return licence if isinstance(licence, str) else None


@contextlib.contextmanager
def _causes_named(hub_id: str, site: HubSite, *, has_token: bool) -> Iterator[None]:
    """Turn what the hub library raises into one error that names the cause."""
    import httpx
    from huggingface_hub import errors

    try:
        yield
    except BackpropagateError:
        raise
    except errors.GatedRepoError as error:
        raise _gated(hub_id, site, has_token=has_token) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise _unknown(hub_id, site, has_token=has_token) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, httpx.TransportError) as error:
        raise _no_answer(hub_id, site, error) from error
    except errors.HfHubHTTPError as error:
        raise _refused(hub_id, site, error.response.status_code) from error
    except (OSError, RuntimeError) as error:
        # RuntimeError: the transfer library hf_xet uses it where it has no class of its own.
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise RunError("RUNTIME_DISK_FULL", f"The disk filled up while fetching {hub_id}.") from error
        raise _no_answer(hub_id, site, error) from error


def _gated(hub_id: str, site: HubSite, *, has_token: bool) -> DependencyError:
    state = "the token that was sent has no access to it" if has_token else "no token is set"
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"{hub_id} is gated: its owner asks for an accepted licence, and {state}.",
        hint=f"Accept the licence at {site.page(hub_id)}, then sign in with `hf auth login` or set HF_TOKEN.",
    )


def _unknown(hub_id: str, site: HubSite, *, has_token: bool) -> InputError:
    private = "" if has_token else " A private model needs `hf auth login` or HF_TOKEN."
    return InputError(
        "INPUT_MODEL_NOT_FOUND",
        f"{site.endpoint} has no model {hub_id!r}.",
        hint=f"Check the spelling of owner and name.{private}",
    )


def _no_answer(hub_id: str, site: HubSite, error: Exception) -> DependencyError:
    reason = redact(str(error).strip().split("\n")[0]) or type(error).__name__
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"{hub_id} could not be fetched: no usable answer from {site.endpoint} ({reason}).",
        hint="Check the network and proxy, then start again: whole files are kept. A local folder works offline.",
    )


def _refused(hub_id: str, site: HubSite, status: int) -> DependencyError:
    cause = {
        401: "the token is not valid",
        403: "the token may not read it",
        429: "too many requests came from this address",
    }.get(status, "the hub has trouble")
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"{hub_id} could not be fetched: {site.endpoint} answered {status}, {cause}.",
        hint="Sign in again with `hf auth login`."
        if status in (401, 403)
        else "Wait some minutes, then start again.",
    )


def _no_weights(hub_id: str, ggufs: list[str]) -> DependencyError:
    if ggufs:
        return DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"{hub_id} holds only GGUF files, which are made for inference.",
            hint="Name the model it was made from; its page links to it.",
        )
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED", f"{hub_id} holds no safetensors weights.", hint="Name a model repository."
    )
