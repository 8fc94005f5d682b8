"""The folder of a run: what lies where, and how it is created and steered.

    spec.json       what to do, frozen; for a training run with the origin of each value
    run.json        who asked for it, from which face, where the result is published
    events.jsonl    the journal, the truth about the run
    control.json    the newest wish of the user: stop, pause, continue
    worker.log      what the worker printed
    lock            held by the worker for life
    checkpoints/ adapter/ exports/
    legs/           of a campaign: plan.json, state.json, and for each leg its rows and its two adapters

Only the worker of a run writes its journal and results; everybody else may write `control.json`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from backprop_core import files, platform
from backprop_core.config.campaigns import CampaignSpec, ResolvedCampaign
from backprop_core.config.downloads import DownloadSpec
from backprop_core.config.evaluations import EvalSpec
from backprop_core.config.exports import ExportSpec
from backprop_core.config.proofs import ProofSpec
from backprop_core.config.pushes import PushSpec
from backprop_core.config.resolve import Origin, Resolved
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import InputError, StateError
from backprop_core.runs.campaigns import CampaignLegs

SCHEMA_VERSION: Final = 1
RUN_ID_FILE: Final = "run_id"

RunSource = Literal["page", "cli", "python"]
RunKind = Literal["train", "multi-run", "export", "download", "eval", "proof", "push"]
JobSpec = ExportSpec | DownloadSpec | EvalSpec | ProofSpec | PushSpec
Request = Literal["stop", "pause", "continue"]

# Jobs of one lane go one after the other. Those of the first one use the device, one at a time over all lanes.
DEVICE_LANE: Final[frozenset[RunKind]] = frozenset({"train", "multi-run", "eval"})
LANES: Final[tuple[frozenset[RunKind], ...]] = (
    DEVICE_LANE,
    frozenset({"export", "proof"}),
    frozenset({"download"}),
    frozenset({"push"}),
)

_T = TypeVar("_T")
_Spec = TypeVar("_Spec", bound=BaseModel)

RUN_ID_PATTERN: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class RunInfo(BaseModel):
    """Facts about a run that are no part of what it does.

    Attributes:
        launch_id: random; the worker takes a run only with the id its launcher was given.
        dataset_hash: SHA-256 of the data file when the run was asked for.
        publish_to: folder that receives a copy of the finished adapter, if any.
        history_dir: folder whose `run_history.json` lists the run, if any.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    run_id: str
    kind: RunKind = "train"
    name: str
    source: RunSource
    created_at: str
    launch_id: str
    is_detached: bool
    version: str
    dataset_hash: str | None = None
    publish_to: str | None = None
    history_dir: str | None = None


class Control(BaseModel):
    """The newest wish of the user."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request: Request
    at: str


class RunFolder:
    """One run on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec_path = path / "spec.json"
        self.info_path = path / "run.json"
        self.journal_path = path / "events.jsonl"
        self.control_path = path / "control.json"
        self.log_path = path / "worker.log"
        self.lock_path = path / "lock"
        self.checkpoints = path / "checkpoints"
        self.adapter = path / "adapter"
        self.exports = path / "exports"
        self.legs = path / "legs"

    def spec(self) -> TrainSpec:
        """Return what the run does.

        Raises:
            StateError: STATE_CHECKPOINT_INVALID when `spec.json` is damaged.
        """
        return self._spec_as(TrainSpec)

    def campaign(self) -> CampaignSpec:
        """Return how the legs of a campaign follow one another.

        Raises:
            StateError: STATE_CHECKPOINT_INVALID when `spec.json` is damaged.
        """
        return self._read(self.spec_path, lambda value: CampaignSpec.model_validate(value["campaign"]))

    def export_spec(self) -> ExportSpec:
        """Return what an export job does; raises as `spec`."""
        return self._spec_as(ExportSpec)

    def eval_spec(self) -> EvalSpec:
        """Return what an evaluation compares; raises as `spec`."""
        return self._spec_as(EvalSpec)

    def proof_spec(self) -> ProofSpec:
        """Return what a proof job looks at; raises as `spec`."""
        return self._spec_as(ProofSpec)

    def push_spec(self) -> PushSpec:
        """Return what a push uploads; raises as `spec`."""
        return self._spec_as(PushSpec)

    def job_spec(self) -> TrainSpec | JobSpec:
        """Return what the job does, of whatever kind it is; raises as `spec`."""
        kind = self.info().kind
        return self._spec_as(_SPECS[kind])

    def download_spec(self) -> DownloadSpec:
        """Return what a download job fetches; raises as `spec`."""
        return self._spec_as(DownloadSpec)

    def origins(self) -> dict[str, Origin]:
        """Return where each value of the spec came from."""
        return self._read(
            self.spec_path,
            lambda value: {name: Origin(**origin) for name, origin in value["origins"].items()},
        )

    def info(self) -> RunInfo:
        """Return the facts about the run."""
        return self._read(self.info_path, RunInfo.model_validate)

    def control(self) -> Control | None:
        """Return the newest wish of the user, if any; a damaged file counts as none."""
        try:
            return Control.model_validate(files.read_json(self.control_path))
        except (OSError, ValueError):
            return None

    def request(self, request: Request, at: str) -> None:
        """Leave a wish for the worker, which reads it at its next step boundary."""
        files.write_json(self.control_path, Control(request=request, at=at).model_dump(), durable=False)

    def clear_request(self) -> None:
        """Forget the last wish, before a new attempt."""
        self.control_path.unlink(missing_ok=True)

    def is_worked_on(self) -> bool:
        """Return whether a living process holds the lock of the run."""
        return not platform.lock_is_free(self.lock_path)

    def _spec_as(self, model: type[_Spec]) -> _Spec:
        return self._read(self.spec_path, lambda value: model.model_validate(value["spec"]))

    def _read(self, path: Path, parse: Callable[[Any], _T]) -> _T:
        try:
            return parse(files.read_json(path))
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            raise StateError(
                "STATE_CHECKPOINT_INVALID",
                f"{path} is missing or damaged.",
                hint="Start the run again from its data.",
            ) from error


def create_run(
    root: Path, resolved: Resolved, info: RunInfo, plan: Mapping[str, Any] | None = None
) -> RunFolder:
    """Create the folder of a training run below `root`, whole or not at all.

    Args:
        root: the folder `runs`; created when missing.
        plan: what was forecast, kept beside the spec for the comparison with reality.
    """
    return _create(root, info, {**_of_training(resolved), "plan": dict(plan or {})})


def create_campaign(
    root: Path, resolved: ResolvedCampaign, info: RunInfo, legs: CampaignLegs, plan: Mapping[str, Any]
) -> RunFolder:
    """Create the folder of a campaign below `root`, whole or not at all; arguments as for `create_run`."""
    content = {**_of_training(resolved.train), "campaign": resolved.spec.model_dump(), "plan": dict(plan)}
    content["origins"] |= _origins(resolved.origins)
    return _create(root, info, content, {"plan.json": legs.model_dump()})


def _of_training(resolved: Resolved) -> dict[str, Any]:
    return {"spec": resolved.spec.model_dump(), "origins": _origins(resolved.origins)}


def _origins(origins: Mapping[str, Origin]) -> dict[str, Any]:
    return {name: {"source": origin.source, "note": origin.note} for name, origin in origins.items()}


_SPECS: Final[dict[RunKind, type[TrainSpec | JobSpec]]] = {
    "train": TrainSpec,
    "multi-run": TrainSpec,
    "export": ExportSpec,
    "download": DownloadSpec,
    "eval": EvalSpec,
    "proof": ProofSpec,
    "push": PushSpec,
}


def training_folder(source: Path, run_id: str | None) -> RunFolder | None:
    """Return the run that trained an adapter or model: the folder around it, or beside a published one."""
    folders = [source.parent]
    if run_id is not None and RUN_ID_PATTERN.match(run_id):
        folders.append(source.parent / "runs" / run_id)
    for path in folders:
        folder = RunFolder(path)
        try:
            folder.spec()
        except StateError:
            continue
        return folder
    return None


def create_job(root: Path, spec: JobSpec, info: RunInfo) -> RunFolder:
    """Create the folder of a job that is no training below `root`, whole or not at all."""
    return _create(root, info, {"spec": spec.model_dump()})


def _create(
    root: Path, info: RunInfo, content: Mapping[str, Any], legs: Mapping[str, Any] | None = None
) -> RunFolder:
    root.mkdir(parents=True, exist_ok=True)
    staged = root / f"{info.run_id}.partial"
    staged.mkdir(mode=0o700)
    files.write_json(staged / "spec.json", {"schema_version": SCHEMA_VERSION, "kind": info.kind, **content})
    files.write_json(staged / "run.json", info.model_dump())
    if legs is not None:
        (staged / "legs").mkdir()
    for name, value in (legs or {}).items():
        files.write_json(staged / "legs" / name, value)
    final = root / info.run_id
    platform.replace(staged, final)
    platform.sync_directory(root)
    return RunFolder(final)


def list_folders(root: Path) -> list[RunFolder]:
    """Return every run below `root`, leftovers of broken creations left out."""
    if not root.is_dir():
        return []
    return [
        RunFolder(path)
        for path in sorted(root.iterdir())
        if RUN_ID_PATTERN.match(path.name) and path.is_dir()
    ]


def new_run_id() -> str:
    """Return a fresh run id."""
    return str(uuid.uuid4())


def check_output_folder(folder: Path) -> None:
    """Raise when `folder` could not be made or written.

    Raises:
        InputError: INPUT_OUTPUT_DIR_NOT_OURS when it, or what lies above it, is no folder.
        StateError: SANDBOX_NOT_WRITABLE when the user may not write there.
    """
    nearest = folder
    while not nearest.exists() and not nearest.is_symlink():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(
            "INPUT_OUTPUT_DIR_NOT_OURS", f"{nearest} is no folder, so nothing can be written below it."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise StateError("SANDBOX_NOT_WRITABLE", f"{nearest} cannot be written.")


def check_publish_target(folder: Path) -> None:
    """Raise when `folder` exists and does not carry the mark of an earlier run.

    Raises:
        InputError: INPUT_OUTPUT_DIR_NOT_OURS with the path.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or folder.is_symlink() or not (folder / RUN_ID_FILE).is_file():
        raise InputError(
            "INPUT_OUTPUT_DIR_NOT_OURS",
            f"{folder} holds files that no run of Backpropagate wrote; it would be replaced.",
            hint=f"Move {folder} away, or choose another --output.",
        )
