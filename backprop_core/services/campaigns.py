"""Starts, continues and changes campaigns, and tells how they stand. See `campaign_plan` for the preview."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_core import files, platform
from backprop_core.config.campaigns import CampaignSpec, ResolvedCampaign, resolve_campaign
from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.config.specs import TrainSpec
from backprop_core.datasets.legs import hold_out, overlap
from backprop_core.errors import ConfigError, InputError, StateError
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader, JournalWriter
from backprop_core.jobs import promises, queue
from backprop_core.runs.campaigns import (
    CampaignLegs,
    CampaignMemory,
    ForgetMatrix,
    ForgetSummary,
    Leg,
    PlannedLeg,
    campaign_state,
)
from backprop_core.runs.index import first_state, remember_root
from backprop_core.runs.leg_files import LegFiles
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder, RunInfo, RunSource, create_campaign, new_run_id
from backprop_core.services import runs
from backprop_core.services.calibration import forecast_record
from backprop_core.services.campaign_plan import (
    CampaignDraft,
    CampaignPlan,
    leg_of,
    plan_campaign,
    rows_of,
)
from backprop_core.services.data_files import check_readable
from backprop_core.services.facts import Memo
from backprop_core.services.training import PUBLISHED_ADAPTER, effective, error_of
from backprop_core.version import __version__
from backprop_core.workspace import Workspace

_UNFINISHED = ("stopped", "failed", "interrupted")


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as every face shows it.

    Attributes:
        exact, loss: the figures of forgetting by exact answers and by loss; None while unknown.
        product_leg: the leg whose merged adapter is the campaign's.
        decidable_leg: the newest leg, while somebody may accept or reject its merge.
        can_add_leg: whether another leg may follow.
    """

    state: RunState
    spec: CampaignSpec
    legs: tuple[Leg, ...]
    matrix: ForgetMatrix
    exact: ForgetSummary | None
    loss: ForgetSummary | None
    product_leg: int | None
    decidable_leg: int | None
    can_add_leg: bool

    def as_json(self) -> dict[str, Any]:
        """Return the campaign as plain values."""
        return {
            **self.state.model_dump(),
            "campaign": self.spec.model_dump(),
            "legs": [_plain(leg) for leg in self.legs],
            "sets": list(self.matrix.sets),
            "matrix": [row.model_dump(exclude={"type"}) for row in self.matrix.rows],
            "exact": _plain(self.exact) if self.exact else None,
            "loss_figures": _plain(self.loss) if self.loss else None,
            "product_leg": self.product_leg,
        }


@dataclass(frozen=True, slots=True)
class StartedCampaign:
    """A campaign that was created and, unless it is in-process, submitted."""

    run_id: str
    folder: RunFolder
    plan: CampaignPlan


def start_campaign(
    ws: Workspace,
    own: Iterable[Layer],
    *,
    source: RunSource,
    start_key: str | None = None,
    memo: Memo | None = None,
) -> StartedCampaign:
    """Create a campaign and put it into the queue; arguments as for `plan_campaign`.

    Args:
        start_key: chosen once per intention; the same key gives the same campaign again.

    Raises:
        BackpropagateError: the first problem of the draft; nothing was created.
    """
    resolved, plan = require(plan_campaign(ws, own, source=source, memo=memo))
    if start_key is not None and (known := ws.database.run_for_key(start_key)) is not None:
        return StartedCampaign(known, RunFolder(Path(ws.database.find(known).state.folder)), plan)
    folder = _create(ws, resolved, plan, source, is_detached=True)
    if folder.spec().after != "nothing":
        promises.promise(ws, folder.path.name)
    run_id = queue.submit(ws, first_state(folder), start_key=start_key)
    return StartedCampaign(run_id, folder, plan)


def prepare_campaign_in_process(ws: Workspace, own: Iterable[Layer]) -> StartedCampaign:
    """Create a campaign that the calling Python program will work on itself.

    Raises:
        BackpropagateError: the first problem of the draft; nothing was created.
    """
    resolved, plan = require(plan_campaign(ws, own, source="python"))
    folder = _create(ws, resolved, plan, "python", is_detached=False)
    return StartedCampaign(folder.path.name, folder, plan)


def register_in_process(ws: Workspace, started: StartedCampaign) -> None:
    """List an in-process campaign in the index; called once its lock is held."""
    state = first_state(started.folder)
    ws.database.insert(state.model_copy(update={"status": "starting"}))
    remember_root(ws.roots_file, started.folder.path.parent)


def read_campaign(ws: Workspace, prefix: str) -> Campaign:
    """Return the campaign whose id begins with `prefix`, brought up to date.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND, also for a run that is no campaign.
    """
    state = _campaign(ws, prefix)
    folder = RunFolder(Path(state.folder))
    told = campaign_state(LegFiles(folder).plan().legs, JournalReader(folder.journal_path).read_all())
    ended = [leg for leg in told.legs if leg.status in {"merged", "rejected"}]
    is_whole = bool(ended) and state.is_terminal and len(ended) == len(told.legs)
    return Campaign(
        state=state,
        spec=folder.campaign(),
        legs=told.legs,
        matrix=told.matrix,
        exact=told.summary("exact"),
        loss=told.summary("loss"),
        product_leg=told.product_leg,
        decidable_leg=ended[-1].number if is_whole else None,
        can_add_leg=state.status == "completed" and is_whole,
    )


def unfinished_in(ws: Workspace, output_dir: Path) -> RunState | None:
    """Return the newest campaign below `output_dir` when it ended early and can go on."""
    root = output_dir.expanduser().absolute() / "runs"
    rows = ws.database.list(kind="multi-run", limit=10_000)
    here = [row.state for row in rows if Path(row.state.folder).parent == root]
    if not here:
        return None
    newest = queue.refresh_run(ws, ws.database.find(here[0].run_id))
    return newest if newest.status in _UNFINISHED else None


def require_same_campaign(state: RunState, given: Mapping[str, Any]) -> None:
    """Refuse options that would change a campaign that has begun.

    Args:
        given: the options that somebody typed, by field name.

    Raises:
        ConfigError: CONFIG_INVALID, naming the option and what the campaign has.
    """
    folder = RunFolder(Path(state.folder))
    has = {**folder.spec().model_dump(), **folder.campaign().model_dump()}
    resolved = resolve_campaign([Layer("flag", given)])
    wants = {**resolved.train.spec.model_dump(), **resolved.spec.model_dump()}
    wants["sources"] = tuple(str(Path(name).expanduser().absolute()) for name in resolved.spec.sources)
    for name in given:
        if name in {"output_dir", "name"} or wants[name] in (has[name], "auto"):
            continue
        if name == "model" and Path(wants[name]).expanduser().absolute() == Path(has[name]):
            continue
        raise ConfigError(
            "CONFIG_INVALID",
            f"The campaign {state.short_id} in this folder has begun with {name} {has[name]!r}, "
            f"not {wants[name]!r}.",
            hint="Go on with its own settings: `backprop resume RUN_ID`; or name a fresh --output.",
            field=name,
        )


def add_leg(
    ws: Workspace,
    prefix: str,
    data: str,
    *,
    source: RunSource,
    samples: int | str | None = None,
    steps: int | str | None = None,
    learning_rate: float | str | None = None,
) -> RunState:
    """Let a finished campaign learn one more data file, and put it into the queue again.

    Args:
        data: the data file of the new leg.
        samples, steps, learning_rate: as the campaign's last leg had them when None.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE, the campaign has not completed.
        InputError, ConfigError: the file cannot be learned from, or it holds rows that are held out.
    """
    state = _campaign(ws, prefix)
    if state.status != "completed":
        raise StateError(
            "STATE_RUN_NOT_ACTIVE",
            f"Campaign {state.short_id} is {state.status}; a leg is added to one that completed.",
            hint=f"`backprop resume {state.short_id}` lets it finish first.",
        )
    path = Path(data).expanduser().absolute()
    if source == "page":
        check_readable(ws, path)
    if not path.is_file():
        raise InputError("INPUT_DATASET_NOT_FOUND", f"{path} is no file.", field="sources")
    folder = RunFolder(Path(state.folder))
    with _alone(state):
        places = LegFiles(folder)
        planned = places.plan().legs
        if places.memory().done < len(planned):
            raise StateError(
                "STATE_RUN_NOT_ACTIVE",
                f"Campaign {state.short_id} ended early, before its last leg; no leg can follow.",
                hint="Begin a new campaign with its adapter: `backprop multi-run --from-adapter RUN_ID`.",
            )
        last, train, spec = planned[-1], folder.spec(), folder.campaign()
        asked = _checked(samples=samples, steps=steps, learning_rate=learning_rate)
        train = train.model_copy(update={"epochs": None} if "steps" in asked else {})
        leg = leg_of(
            last.number + 1,
            str(path),
            train,
            spec,
            samples=asked.get("samples", last.samples),
            legs=spec.num_runs,
        )
        leg = leg.model_copy(
            update={name: asked[name] for name in ("steps", "learning_rate") if name in asked}
        )
        _require_rows(places, leg, train, spec)
        files.write_json(places.plan_path, CampaignLegs(legs=(*planned, leg)).model_dump())
    return queue.reopen(ws, state.run_id)


def decide_merge(ws: Workspace, prefix: str, leg: int, *, accept: bool) -> Campaign:
    """Accept or reject the merge of the newest leg of a campaign at rest.

    Rejected, the campaign's adapter and the start of the next leg are those of before the leg.

    Raises:
        StateError: STATE_RUN_NOT_ACTIVE, the campaign works, or the leg is not its newest.
        InputError: INPUT_VALIDATION_FAILED, without the leg no adapter would be left.
    """
    campaign = read_campaign(ws, prefix)
    if campaign.decidable_leg != leg:
        raise StateError(
            "STATE_RUN_NOT_ACTIVE",
            f"The merge of leg {leg} cannot be decided now.",
            hint="Only the newest leg of a campaign that has ended can be accepted or rejected.",
        )
    folder = RunFolder(Path(campaign.state.folder))
    places = LegFiles(folder)
    with _alone(campaign.state):
        memory = places.memory()
        records = [
            record.model_copy(update={"is_accepted": accept}) if record.number == leg else record
            for record in memory.legs
        ]
        standing = [record.number for record in records if record.is_accepted]
        if not standing:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"Leg {leg} is the only one; without it the campaign has no adapter.",
            )
        changed = CampaignMemory(legs=tuple(records), product=standing[-1], rows=memory.rows)
        places.commit(changed)
        places.place_product(changed, folder.info().publish_to)
        _tell_decision(ws, folder, changed, leg, accept=accept)
    return read_campaign(ws, prefix)


def _tell_decision(
    ws: Workspace, folder: RunFolder, memory: CampaignMemory, leg: int, *, accept: bool
) -> None:
    record = next(record for record in memory.legs if record.number == leg)
    with JournalWriter(folder.journal_path, ws.clock) as journal:
        journal.append(
            ev.LegMerged(
                leg=leg,
                mode=folder.campaign().merge_mode,
                weight=record.weight,
                is_accepted=accept,
                reason="decided by you",
                path=f"legs/{leg:03d}/merged",
                seconds=0.0,
            )
        )
        journal.append(ev.LegChosen(leg=memory.product or 0, reason="decided by you"))


def _checked(**asked: float | str | None) -> dict[str, Any]:
    """Return the options that were given for one more leg.

    Raises:
        InputError: INPUT_VALIDATION_FAILED for a value outside its range.
    """
    named = {name: value for name, value in asked.items() if value is not None}
    spec = resolve_train([Layer("explicit", named)]).spec
    return {name: getattr(spec, name) for name in named}


def _require_rows(places: LegFiles, leg: PlannedLeg, train: TrainSpec, spec: CampaignSpec) -> None:
    """Refuse a new leg that is too small, or whose rows are held out of an earlier one or stand in it.

    Raises:
        InputError: INPUT_DATASET_INVALID.
        ConfigError: CONFIG_INVALID.
    """
    there = rows_of(Path(leg.source), Memo()).digests
    own = list(there[: leg.samples])
    if len(own) < (2 if spec.validation else 1):
        raise InputError(
            "INPUT_DATASET_INVALID",
            f"Leg {leg.number} ({leg.name}) has {len(own)} usable rows, too few to learn from.",
            field="sources",
        )
    if not spec.validation:
        return
    known = [places.digests(number) for number in range(1, leg.number)]
    legs = [[digest for digest, _ in rows] for rows in known]
    held = set(hold_out([*legs, own], leg.number, share=train.eval_split, seed=train.seed))
    if not held:
        raise overlap(f"Every row of leg {leg.number} ({leg.name}) stands in another leg too")
    trained = {digest for index, digest in enumerate(own) if index not in held}
    for number, rows in enumerate(known, 1):
        if doubled := sum(digest in trained for digest, is_held in rows if is_held):
            raise overlap(f"{doubled} rows of {leg.name} are held out of leg {number}")


def require(draft: CampaignDraft) -> tuple[ResolvedCampaign, CampaignPlan]:
    """Return the parts of a draft that can start.

    Raises:
        BackpropagateError: its first problem.
    """
    if draft.problems:
        raise error_of(draft.problems[0])
    assert draft.resolved is not None and draft.plan is not None
    train = effective(draft.resolved.train, draft.plan.plan)
    # The plan knows the steps of one leg only; a campaign counts them anew for each.
    asked = draft.resolved.train.spec
    kept = train.spec.model_copy(update={"steps": asked.steps, "epochs": asked.epochs})
    resolved = type(train)(kept, {**train.origins, "steps": draft.resolved.train.origins["steps"]})
    return ResolvedCampaign(resolved, draft.resolved.spec, draft.resolved.origins), draft.plan


@contextlib.contextmanager
def _alone(state: RunState) -> Iterator[None]:
    """Hold the lock of a campaign at rest.

    Raises:
        StateError: STATE_RUN_LOCKED, somebody works on it.
    """
    lock = platform.FileLock(RunFolder(Path(state.folder)).lock_path)
    if not lock.acquire():
        raise StateError("STATE_RUN_LOCKED", f"Campaign {state.short_id} is worked on.")
    try:
        yield
    finally:
        lock.release()


def _campaign(ws: Workspace, prefix: str) -> RunState:
    state = runs.get_run(ws, prefix)
    if state.kind != "multi-run":
        raise InputError("INPUT_RUN_NOT_FOUND", f"Run {state.short_id} is no campaign.")
    return state


def _create(
    ws: Workspace, resolved: ResolvedCampaign, plan: CampaignPlan, source: RunSource, *, is_detached: bool
) -> RunFolder:
    train = resolved.train.spec
    output = Path(train.output_dir)
    is_page = source == "page"
    info = RunInfo(
        run_id=new_run_id(),
        kind="multi-run",
        name=train.name or Path(train.dataset).stem,
        source=source,
        created_at=ws.now(),
        launch_id=new_run_id(),
        is_detached=is_detached,
        version=__version__,
        dataset_hash=plan.legs[0].leg.sha256,
        publish_to=None if is_page else str(output / PUBLISHED_ADAPTER),
        history_dir=None if is_page else str(output),
    )
    legs = CampaignLegs(legs=tuple(preview.leg for preview in plan.legs))
    return create_campaign(output / "runs", resolved, info, legs, forecast_record(plan.plan))


def _plain(record: Leg | ForgetSummary) -> dict[str, Any]:
    return dataclasses.asdict(record)
