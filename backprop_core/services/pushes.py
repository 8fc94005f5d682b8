"""Plans and starts pushes to the hub; finds the token and hands it to the worker, never to anything that is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backprop_core import files
from backprop_core.auth import handover
from backprop_core.auth.secret_files import read_private_text
from backprop_core.config.exports import report_path
from backprop_core.config.pushes import PushSpec
from backprop_core.errors import InputError
from backprop_core.hub.names import is_hub_id
from backprop_core.hub.site import HubSite
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunSource
from backprop_core.services import export_sources, exports, jobs, runs
from backprop_core.services.facts import model_folder
from backprop_core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What somebody wants on the hub.

    Attributes:
        source: a GGUF file, a folder with an adapter or a model, the id of a run or of an export job.
        repo: owner and name.
        includes_base: also the files of the base model, in a folder of their own.
        token_file: holds the token; the environment, then the saved login when not given.
    """

    source: str
    repo: str
    is_private: bool = True
    includes_base: bool = False
    revision: str | None = None
    message: str | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class HubLogin:
    """Whether this machine can push: where its token comes from, never the token."""

    endpoint: str
    source: str

    @property
    def is_ready(self) -> bool:
        """Whether there is a token."""
        return bool(self.source)


def login() -> HubLogin:
    """Return where the token for pushes comes from; an empty source when there is none."""
    from huggingface_hub import constants, get_token

    endpoint = HubSite.from_environment().endpoint
    if not get_token():
        return HubLogin(endpoint, "")
    is_saved = Path(constants.HF_TOKEN_PATH).is_file()
    return HubLogin(endpoint, "the saved login" if is_saved else "the environment")


def prepare(ws: Workspace, request: PushRequest, *, face: RunSource, is_detached: bool) -> RunFolder:
    """Create the folder of a push job and hand over its token; nothing is started.

    Raises:
        InputError: the repository's name, the source or the token file cannot be used.
        StateError: the page may not read there, or the folder of secrets is open to others.
    """
    if not is_hub_id(request.repo):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{request.repo[:120]!r} is no name of a repository.",
            hint="Use OWNER/NAME, for example ada/my-model.",
        )
    _require_branch(request.revision)
    path = _path(ws, request.source, face)
    spec = PushSpec(
        path=str(path),
        repo=request.repo,
        is_private=request.is_private,
        base=_base(ws, path) if request.includes_base else None,
        revision=request.revision,
        message=(request.message or f"Upload {path.name}").strip()[:500] or f"Upload {path.name}",
    )
    token = _token(request.token_file)
    folder = jobs.create(
        ws, "push", f"{path.name} to {request.repo}", spec, face=face, is_detached=is_detached
    )
    handover.sweep(ws.home, lambda job_id: _is_waiting(ws, job_id))
    if token is not None:
        handover.leave(ws.home, folder.info().run_id, token)
    return folder


def start(ws: Workspace, request: PushRequest, *, face: RunSource, start_key: str | None = None) -> str:
    """Create a push job, put it into the queue and return its id; see `prepare`."""
    if start_key is not None and (known := ws.database.run_for_key(start_key)) is not None:
        return known
    return jobs.submit(ws, prepare(ws, request, face=face, is_detached=True), start_key)


def again(ws: Workspace, job_id: str) -> RunState:
    """Put a push that failed back into the queue, with the token that this machine has now."""
    token = _token(None)
    handover.sweep(ws.home, lambda waiting: waiting != job_id and _is_waiting(ws, waiting))
    if token is not None:
        handover.leave(ws.home, job_id, token)
    return runs.resume(ws, job_id)


def _path(ws: Workspace, source: str, face: RunSource) -> Path:
    """Return the file or folder that is pushed.

    Raises:
        InputError: it does not exist, or the run has no adapter.
    """
    path = Path(source).expanduser()
    if face != "page" and path.exists():
        return path.absolute()
    if "/" in source or "\\" in source:
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{source[:200]} does not exist.")
    state = runs.get_run(ws, source)
    if state.kind != "export":
        return export_sources.find_source(ws, source, face=face).folder
    made = exports.finished(state)
    if made is None:
        raise InputError("INPUT_MODEL_NOT_FOUND", f"What export {state.short_id} made is gone.")
    return made.path


def _base(ws: Workspace, path: Path) -> str:
    """Return the folder of the base model under an export or adapter.

    Raises:
        InputError: it has none, or the base is not on this machine.
    """
    report = report_path(path)
    config = report if report.is_file() else path / "adapter_config.json"
    try:
        values = files.read_json(config)
        name = values.get("base_model") or values.get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        name = None
    folder = model_folder(ws, name) if isinstance(name, str) and name else None
    if folder is None:
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"The base model of {path.name} is not on this machine, so it cannot go along.",
            hint="Fetch it with `backprop models download`, or push without `--include-base`.",
        )
    return str(folder)


def _token(token_file: Path | None) -> str | None:
    """Return the token of a file, of HF_TOKEN, or of the saved login.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, the file cannot be used.
    """
    if token_file is None:
        from huggingface_hub import get_token

        return get_token()
    try:
        token = read_private_text(token_file.expanduser())
    except OSError as error:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"The token file {token_file} cannot be used: {error.strerror or error}.",
            hint=f"It holds the token alone and is yours alone: chmod 600 {token_file}",
        ) from error
    if not token or len(token.split()) != 1:
        raise InputError("INPUT_VALIDATION_FAILED", f"The token file {token_file} holds no single token.")
    return token


def _require_branch(revision: str | None) -> None:
    allowed = revision is None or (
        0 < len(revision) <= 100 and all(part.isalnum() or part in "._-/" for part in revision)
    )
    if not allowed or (revision or "").startswith(("-", "/", ".")) or ".." in (revision or ""):
        raise InputError("INPUT_VALIDATION_FAILED", f"{(revision or '')[:100]!r} is no name of a branch.")


def _is_waiting(ws: Workspace, job_id: str) -> bool:
    row = ws.database.get(job_id)
    return row is not None and not row.state.is_terminal
