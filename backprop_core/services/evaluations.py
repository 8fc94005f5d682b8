"""Plans, starts and finds evaluations: a run against its base or another run, on held-out rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from backprop_core.config.evaluations import ROWS, Contender, EvalSpec, Evaluation, read_evaluation
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import InputError
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunSource
from backprop_core.services import jobs, runs
from backprop_core.services.data_files import check_readable
from backprop_core.workspace import Workspace

BASE = "base"
_PATTERN_LENGTH = 200


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """What somebody wants to know about a run.

    Attributes:
        run: its id or the beginning of it.
        versus: `base`, or another run.
        data: a held-out file; None for the rows that the run held out.
        regex: what to look for in answers and replies.
    """

    run: str
    versus: str = BASE
    data: Path | None = None
    regex: str | None = None
    rows: int = ROWS


def prepare(ws: Workspace, request: EvalRequest, *, face: RunSource, is_detached: bool) -> RunFolder:
    """Create the folder of an evaluation job; nothing is started.

    Raises:
        InputError: a run has nothing to evaluate, or there are no held-out rows.
        StateError: SANDBOX_PATH_OUTSIDE, the page may not read that file.
    """
    state = runs.get_run(ws, request.run)
    after = _contender(state)
    training = RunFolder(Path(state.folder)).spec()
    if request.versus == BASE:
        before = Contender(label=BASE, model=training.model)
    else:
        before = _contender(runs.get_run(ws, request.versus))
    data = _data(ws, request, training, state, face)
    _check_pattern(request.regex)
    spec = EvalSpec(
        run_id=state.run_id,
        run_folder=state.folder,
        before=before,
        after=after,
        data=str(data) if data is not None else None,
        regex=request.regex,
        rows=request.rows,
    )
    return jobs.create(
        ws, "eval", f"{state.name} against {before.label}", spec, face=face, is_detached=is_detached
    )


def start(ws: Workspace, request: EvalRequest, *, face: RunSource, start_key: str | None = None) -> str:
    """Create an evaluation job, put it into the queue and return its id; see `prepare`."""
    if start_key is not None and (known := ws.database.run_for_key(start_key)) is not None:
        return known
    return jobs.submit(ws, prepare(ws, request, face=face, is_detached=True), start_key)


def result(ws: Workspace, job_id: str) -> Evaluation | None:
    """Return what an evaluation job has found; None when it has not ended well."""
    return read_evaluation(Path(runs.get_run(ws, job_id).folder))


def newest_job(ws: Workspace, run_id: str, *, limit: int = 100) -> RunState | None:
    """Return the evaluation of a run that was asked for last."""
    for state in runs.list_runs(ws, kind="eval", limit=limit):
        if RunFolder(Path(state.folder)).eval_spec().run_id == run_id:
            return state
    return None


def newest_evaluation(ws: Workspace, run_id: str, *, limit: int = 100) -> RunState | None:
    """Return the job of the newest evaluation of a run against its base that has a result."""
    for state in runs.list_runs(ws, statuses=("completed",), kind="eval", limit=limit):
        spec = RunFolder(Path(state.folder)).eval_spec()
        if spec.run_id == run_id and spec.before.label == BASE:
            return state
    return None


def _contender(state: RunState) -> Contender:
    """Return the model of a run.

    Raises:
        InputError: INPUT_MODEL_NOT_FOUND, it has made none.
    """
    if not state.is_training or not state.artifact:
        raise InputError(
            "INPUT_MODEL_NOT_FOUND",
            f"{state.short_id} has no model that could be evaluated.",
            hint="Choose a training run that completed, or was stopped after its first step.",
        )
    folder = RunFolder(Path(state.folder))
    made = folder.path / state.artifact
    if folder.spec().mode == "full":
        return Contender(label=state.name, model=str(made))
    return Contender(label=state.name, model=folder.spec().model, adapter=str(made))


def _data(
    ws: Workspace, request: EvalRequest, training: TrainSpec, state: RunState, face: RunSource
) -> Path | None:
    """Return the held-out file; None when the run held rows out of its own data.

    Raises:
        InputError: there is neither, or the file is gone.
    """
    if request.data is None:
        if training.eval_split == 0:
            raise InputError(
                "INPUT_DATASET_NOT_FOUND",
                f"Run {state.short_id} held no rows out, so there is nothing to compare on.",
                hint="Name a held-out file with `--data`, or train with `--eval-split 0.1`.",
            )
        _require_file(Path(training.dataset).expanduser())
        return None
    path = request.data.expanduser().absolute()
    if face == "page":
        check_readable(ws, path)
    _require_file(path)
    return path


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError("INPUT_DATASET_NOT_FOUND", f"{path} is no file.")


def _check_pattern(regex: str | None) -> None:
    try:
        if regex is not None and len(regex) > _PATTERN_LENGTH:
            raise re.error(f"it is longer than {_PATTERN_LENGTH} characters")
        re.compile(regex or "")
    except re.error as error:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{(regex or '')[:_PATTERN_LENGTH]!r} is no regular expression: {error}.",
        ) from error
