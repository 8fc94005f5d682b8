"""Plans, starts and prepares training runs for every face.

Everything that can be wrong is found here, with a code, before anything is created.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.config.resolve import (
    FieldProblem,
    Layer,
    Origin,
    Resolved,
    config_layer,
    environment_layer,
    field_problems,
    resolve_train,
)
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import (
    CATALOGUE,
    BackpropagateError,
    ErrorRecord,
    InputError,
    error_from_record,
)
from backprop_core.hub.names import understand
from backprop_core.jobs import promises, queue
from backprop_core.planning.plan import effective_spec, make_plan
from backprop_core.planning.records import Plan
from backprop_core.runs.database import Row
from backprop_core.runs.index import first_state, remember_root
from backprop_core.runs.store import (
    RunFolder,
    RunInfo,
    RunSource,
    check_output_folder,
    check_publish_target,
    create_run,
    new_run_id,
)
from backprop_core.services.calibration import forecast_record
from backprop_core.services.data_files import check_readable
from backprop_core.services.facts import Memo, gather_facts, problem_at
from backprop_core.version import __version__
from backprop_core.workspace import Workspace

PUBLISHED_ADAPTER: Final = "lora"


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec on its way to a run: what was asked for, and what the plan makes of it.

    `plan` is None when a value cannot be used at all; `problems` then says which.
    """

    resolved: Resolved | None
    plan: Plan | None
    problems: tuple[FieldProblem, ...]

    @property
    def can_start(self) -> bool:
        """Whether Start would create a run."""
        return self.plan is not None and not self.problems


@dataclass(frozen=True, slots=True)
class StartedRun:
    """A run that was created and, unless it is in-process, submitted."""

    run_id: str
    folder: RunFolder
    plan: Plan


def layers_of(ws: Workspace, own: Iterable[Layer]) -> list[Layer]:
    """Return the layers of a face with those of config file and environment below them."""
    return [config_layer(ws.home / "config.toml"), environment_layer(), *own]


def draft(ws: Workspace, own: Iterable[Layer], *, source: RunSource, memo: Memo | None = None) -> Draft:
    """Plan a run without creating anything.

    Args:
        own: the values of the face that asks.
        source: the page reads data only from its own folders and writes only below them.
        memo: remembers facts between calls; a form keeps one.

    Raises:
        ConfigError: config file or environment hold a value that cannot be used.
    """
    layers = layers_of(ws, own)
    problems = field_problems(layers)
    if problems:
        return Draft(None, None, tuple(problems))
    resolved = with_places(ws, resolve_train(layers), source)
    if wrong := misplaced(ws, resolved.spec, source):
        return Draft(resolved, None, wrong)
    facts, found = gather_facts(ws, resolved.spec, memo or Memo())
    plan = make_plan(resolved.spec, facts)
    seen = {problem.field for problem in found}
    return Draft(
        resolved, plan, (*found, *(problem for problem in plan.problems if problem.field not in seen))
    )


def start(
    ws: Workspace,
    own: Iterable[Layer],
    *,
    source: RunSource,
    start_key: str | None = None,
    memo: Memo | None = None,
) -> StartedRun:
    """Create a run and put it into the queue.

    Args:
        start_key: chosen once per intention; the same key gives the same run again.

    Raises:
        BackpropagateError: the first problem of the draft; nothing was created.
    """
    ready = draft(ws, own, source=source, memo=memo)
    resolved, plan = _require(ready)
    if start_key is not None and (known := ws.database.run_for_key(start_key)) is not None:
        row = ws.database.find(known)
        return StartedRun(known, RunFolder(Path(row.state.folder)), plan)
    folder = _create(ws, resolved, plan, source, is_detached=True)
    if resolved.spec.after != "nothing":
        promises.promise(ws, folder.path.name)
    run_id = queue.submit(ws, first_state(folder), start_key=start_key)
    return StartedRun(run_id, folder, plan)


def prepare_in_process(ws: Workspace, own: Iterable[Layer]) -> StartedRun:
    """Create a run that the calling Python program will work on itself.

    The caller takes the lock of the run before anybody looks; the row says `starting` until then.

    Raises:
        BackpropagateError: the first problem of the draft; nothing was created.
    """
    resolved, plan = _require(draft(ws, own, source="python"))
    folder = _create(ws, resolved, plan, "python", is_detached=False)
    return StartedRun(folder.path.name, folder, plan)


def register_in_process(ws: Workspace, started: StartedRun) -> None:
    """List an in-process run in the index; called once its lock is held."""
    state = first_state(started.folder)
    if started.folder.spec().after != "nothing":
        promises.promise(ws, state.run_id)
    ws.database.insert(state.model_copy(update={"status": "starting"}))
    remember_root(ws.roots_file, started.folder.path.parent)
    queue.refresh_run(ws, Row(state, 0))


def error_of(problem: FieldProblem) -> BackpropagateError:
    """Return a problem at a field as the error that a command or a program meets."""
    kind = CATALOGUE[problem.code]
    record = ErrorRecord(
        code=problem.code,
        message=problem.message,
        hint=problem.hint or kind.hint,
        retryable=kind.retryable,
        details={"field": problem.field},
    )
    return error_from_record(record)


def _require(ready: Draft) -> tuple[Resolved, Plan]:
    """Return the parts of a draft that can start, or raise its first problem."""
    if ready.problems:
        raise error_of(ready.problems[0])
    assert ready.resolved is not None and ready.plan is not None
    resolved = effective(ready.resolved, ready.plan)
    return resolved, ready.plan


def effective(resolved: Resolved, plan: Plan) -> Resolved:
    """Write the plan's choices into the spec, with their reasons as origins."""
    spec = effective_spec(resolved.spec, plan)
    reasons = {derived.field: derived.reason for derived in plan.derived}
    changed = {
        name: Origin("derived", reasons.get(name, ""))
        for name in dataclasses.asdict(plan.choices)
        if getattr(spec, name) != getattr(resolved.spec, name)
    }
    return Resolved(spec, {**resolved.origins, **changed})


def with_places(ws: Workspace, resolved: Resolved, source: RunSource) -> Resolved:
    """Make paths absolute; the page always writes below its own folder."""
    spec = resolved.spec
    output = ws.settings.sandbox_root if source == "page" else Path(spec.output_dir).expanduser().absolute()
    changes: dict[str, Any] = {"output_dir": str(output)}
    if spec.dataset:
        changes["dataset"] = str(Path(spec.dataset).expanduser().absolute())
    model = Path(spec.model).expanduser()
    if spec.model.startswith((".", "~", "/")) and model.is_dir():
        changes["model"] = str(model.absolute())
    if spec.from_adapter is not None:
        changes["from_adapter"] = str(_adapter_folder(ws, spec.from_adapter))
    return Resolved(spec.model_copy(update=changes), resolved.origins)


def _adapter_folder(ws: Workspace, named: str) -> Path:
    """Return the folder of an adapter that is named by its path or by the run that made it."""
    path = Path(named).expanduser().absolute()
    if path.exists():
        return path
    try:
        return Path(ws.database.find(named).state.folder) / "adapter"
    except InputError:
        return path


def misplaced(ws: Workspace, spec: TrainSpec, source: RunSource) -> tuple[FieldProblem, ...]:
    """Return the paths that this face may not read or write, each at its field."""
    checks: dict[str, Callable[[], object]] = {}
    if source == "page":
        checks["output_dir"] = ws.sandbox.prepare
        if spec.dataset:
            checks["dataset"] = lambda: check_readable(ws, Path(spec.dataset))
        checks["model"] = lambda: _check_model(ws, spec.model)
    else:
        checks["output_dir"] = lambda: _check_output(Path(spec.output_dir))
    if spec.from_adapter is not None:
        adapter = Path(spec.from_adapter)
        checks["from_adapter"] = lambda: _check_adapter(ws, adapter, source)
    problems = []
    for field, check in checks.items():
        try:
            check()
        except BackpropagateError as error:
            problems.append(problem_at(field, error))
    return tuple(problems)


def _check_adapter(ws: Workspace, folder: Path, source: RunSource) -> None:
    """Refuse what is no adapter; the page takes those of listed runs and of its own folders."""
    if source == "page" and not _is_made_by_a_run(ws, folder):
        check_readable(ws, folder)
    if not (folder / "adapter_config.json").is_file():
        raise InputError("INPUT_ADAPTER_INVALID", f"{folder} holds no adapter.")


def _is_made_by_a_run(ws: Workspace, folder: Path) -> bool:
    """Tell whether `folder` is, behind every link, the adapter of a run in the index."""
    resolved = folder.resolve()
    row = ws.database.get(resolved.parent.name)
    return row is not None and resolved == RunFolder(Path(row.state.folder).resolve()).adapter


def _check_output(folder: Path) -> None:
    check_output_folder(folder)
    check_publish_target(folder / PUBLISHED_ADAPTER)


def _check_model(ws: Workspace, name: str) -> None:
    """Refuse model folders and files that the page may not read."""
    if understand(name).kind != "hub":
        check_readable(ws, Path(name).expanduser())


def _create(
    ws: Workspace, resolved: Resolved, plan: Plan, source: RunSource, *, is_detached: bool
) -> RunFolder:
    spec = resolved.spec
    output = Path(spec.output_dir)
    is_page = source == "page"
    info = RunInfo(
        run_id=new_run_id(),
        name=spec.name or Path(spec.dataset).stem,
        source=source,
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=is_detached,
        version=__version__,
        dataset_hash=files.sha256_of(Path(spec.dataset)),
        publish_to=None if is_page else str(output / PUBLISHED_ADAPTER),
        history_dir=None if is_page else str(output),
    )
    if not is_page:
        return create_run(output / "runs", resolved, info, forecast_record(plan))
    with ws.sandbox.held("runs") as held:
        made = create_run(held, resolved, info, forecast_record(plan))
    return RunFolder(ws.sandbox.path("runs", made.path.name))
