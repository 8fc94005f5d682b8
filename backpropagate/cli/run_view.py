"""How a run looks in a list, alone, and beside another one. Draws, asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from backprop_core import units
from backprop_core.errors import InputError
from backprop_core.events.types import Event
from backprop_core.runs.projection import RunState
from backprop_core.runs.series import Point, thin
from backprop_core.services.failure import FailureCard
from backprop_core.services.runs import RunDetail
from backpropagate.cli.render import pairs, put, shown, table
from backpropagate.progress import event_line, phase_line

LIST_COLUMNS: Final = ("ID", "KIND", "STATUS", "NAME", "MODEL", "STEP", "LOSS", "TIME", "CREATED")
LIST_NUMBERS: Final = ("STEP", "LOSS", "TIME")

_SPARK_POINTS: Final = 60
_RESULT_NAMES: Final = {"train": "Adapter", "multi-run": "Adapter", "export": "Export", "push": "Commit"}
_RESULTS: Final = ("status", "step", "first_loss", "loss", "eval_loss", "seconds", "tokens", "device")


def list_row(state: RunState) -> list[str]:
    """Return the row of a run in a list."""
    steps = f"{units.count(state.step)}/{units.count(state.total_steps)}" if state.total_steps else "–"
    seconds = units.duration(state.seconds) if state.seconds else "–"
    return [
        state.short_id,
        state.kind,
        state.status,
        state.name,
        state.model.rpartition("/")[2],
        steps,
        units.loss(state.loss),
        seconds,
        local_time(state.created_at),
    ]


def show_detail(
    detail: RunDetail, points: Sequence[Point], events: Sequence[Event], card: FailureCard | None
) -> None:
    """Print everything about one run."""
    state = detail.state
    pairs(_facts(state))
    if spark := units.sparkline([point.loss for point in thin(points, _SPARK_POINTS)]):
        put(f"Loss      {spark}")
    put()
    rows = [[name, shown(value), _origin(detail, name)] for name, value in detail.spec.model_dump().items()]
    table(("SETTING", "VALUE", "ORIGIN"), rows)
    lines = [line for event in events if (line := event_line(event.body))]
    if lines:
        put()
        for line in lines:
            put(line)
    if card is not None:
        put()
        put_card(card)


def put_card(card: FailureCard) -> None:
    """Print why a run ended badly, what is safe and what may be done."""
    put(f"[{card.code}]: {card.message}")
    put(f"cause: {card.cause}")
    put(f"hint: {card.next_step}")
    if card.setting:
        put(f"setting: {card.setting}")
    put(f"safe: {card.safe_title}, {card.safe_text}")
    for fix in card.fixes:
        put(f"fix: {fix.title}. {fix.effect}")
        put(f"     {fix.command}")
    for line in card.log[-10:]:
        put(f"  {line}")


def _facts(state: RunState) -> dict[str, str]:
    is_training = state.is_training
    facts = {
        "Run": state.run_id,
        "Kind": state.kind,
        "Name": state.name,
        "Status": state.status + (f", {phase_line(state.phase, state.phase_detail)}" if state.phase else ""),
        "Model": state.model,
        "Data": state.dataset,
        "Device": state.device,
        "Steps": f"{units.count(state.step)} of {units.count(state.total_steps)}" if is_training else "",
        "Now": f"loss {units.loss(state.loss)}, first {units.loss(state.first_loss)}" if is_training else "",
        "Time": units.duration(state.seconds) if state.seconds else "",
        "Rule": f"{state.stop_rule}: {state.stop_reason}".rstrip(": ") if state.stop_rule else "",
        "Created": local_time(state.created_at),
        "Ended": local_time(state.ended_at) if state.ended_at else "",
        _RESULT_NAMES.get(state.kind, "Result"): _result(state),
        "Folder": state.folder,
    }
    return {name: value for name, value in facts.items() if value}


def _result(state: RunState) -> str:
    """Return where the result lies: a path, or the address of a commit."""
    if not state.artifact:
        return ""
    return state.artifact if state.kind == "push" else str(Path(state.folder, state.artifact))


def _origin(detail: RunDetail, name: str) -> str:
    origin = detail.origins.get(name)
    return f"{origin.source}  {origin.note}".rstrip() if origin is not None else ""


def differences(first: RunDetail, second: RunDetail) -> list[tuple[str, Any, Any]]:
    """Return each setting and result that differs, with both values.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, they are of different kinds.
    """
    if first.state.kind != second.state.kind:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"Run {first.state.short_id} is of kind {first.state.kind} and run {second.state.short_id} of kind "
            f"{second.state.kind}; they have no settings in common.",
            hint="`backprop list-runs` shows the kind of each run.",
        )
    a, b = first.spec.model_dump(), second.spec.model_dump()
    rows = [(name, a[name], b[name]) for name in a if a[name] != b[name]]
    for name in _RESULTS:
        one, other = getattr(first.state, name), getattr(second.state, name)
        if one != other:
            rows.append((name, one, other))
    return rows


def local_time(stamp: str) -> str:
    """Return a stored time in the zone of this machine: "2025-01-31 22:05"."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
