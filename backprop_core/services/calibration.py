"""What finished runs on this machine teach the planner about its memory forecast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from backprop_core import files
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import BackpropagateError
from backprop_core.planning.plan import device_name
from backprop_core.planning.records import Calibration, MachineFacts, MeasuredSpeed, Plan
from backprop_core.planning.vram import calibrate
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.workspace import Workspace

_RUNS: Final = 20


def forecast_record(plan: Plan) -> dict[str, Any]:
    """Return what is kept beside a run's spec for the comparison with reality."""
    return {
        "peak_bytes": plan.peak_bytes,
        "error_bytes": plan.peak_error_bytes,
        "comparable_bytes": plan.comparable_bytes,
        "device_name": plan.device_name,
        "time_s": plan.time_s,
        "disk_bytes": plan.disk_bytes,
    }


def planned_peak_bytes(state: RunState) -> int | None:
    """Return the peak memory that was forecast for a run; None when its folder does not tell."""
    try:
        return int(files.read_json(RunFolder(Path(state.folder)).spec_path)["plan"]["peak_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finished_runs(ws: Workspace) -> list[RunState]:
    """Return the newest completed training runs."""
    rows = ws.database.list(statuses=("completed",), limit=_RUNS)
    return [row.state for row in rows if row.state.kind == "train"]


def calibration(finished: Sequence[RunState], spec: TrainSpec, machine: MachineFacts) -> Calibration | None:
    """Return how forecasts compared with the peaks of `finished` on the device that `spec` takes."""
    name = device_name(spec, machine)
    return calibrate([pair for state in finished if (pair := _pair(state, name)) is not None])


def measured_speed(
    finished: Sequence[RunState], spec: TrainSpec, machine: MachineFacts
) -> MeasuredSpeed | None:
    """Return the speed of the newest of `finished` that did the same kind of work on the same device."""
    place = device_name(spec, machine)
    for state in finished:
        if not state.tokens_per_s:
            continue
        folder = RunFolder(Path(state.folder))
        try:
            did, there = folder.spec(), files.read_json(folder.spec_path)["plan"]["device_name"]
        except (OSError, ValueError, KeyError, TypeError, BackpropagateError):
            continue
        if there == place and _is_same_work(did, spec):
            return MeasuredSpeed(state.tokens_per_s, f"measured by run {state.short_id}")
    return None


def _is_same_work(did: TrainSpec, wanted: TrainSpec) -> bool:
    """Tell whether a token costs both about the same; `did` holds what `auto` came to."""
    if wanted.quantization not in ("auto", did.quantization):
        return False
    return (did.model, did.mode, did.use_dora) == (wanted.model, wanted.mode, wanted.use_dora)


def _pair(state: RunState, name: str) -> tuple[int, int] | None:
    """Return forecast and measured peak of a run; None when it ran elsewhere or its folder is gone."""
    try:
        plan = files.read_json(RunFolder(Path(state.folder)).spec_path)["plan"]
        planned, place = int(plan["comparable_bytes"]), plan["device_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (planned, state.memory_bytes) if place == name and state.memory_bytes else None
