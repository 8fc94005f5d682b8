"""The lower half of a run's page: failure, settings with their origin, checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

from backprop_core import units
from backprop_core.config.resolve import Origin
from backprop_core.config.schema import train_fields
from backprop_core.config.specs import TrainSpec
from backprop_core.events import types as ev
from backprop_core.runs.projection import RunState

_ORIGINS: Final = {
    "default": "default",
    "flag": "given",
    "explicit": "given",
    "environment": "environment",
    "config": "config.toml",
    "preset": "preset",
}


# Through the log, and printed by a library before the log was set up.
_WARNING: Final = re.compile(r"\S+ \S+ WARNING py\.warnings: |\S+:\d+: \w*Warning: ")


@dataclass(frozen=True, slots=True)
class FailureView:
    """Why a run ended badly, and what is safe. An empty `code` means that it did not."""

    code: str = ""
    message: str = ""
    hint: str = ""
    safe_title: str = ""
    safe_text: str = ""
    resume_title: str = ""
    resume_text: str = ""


@dataclass(frozen=True, slots=True)
class SettingItem:
    """One field of the spec."""

    label: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class CheckpointItem:
    """One checkpoint that was written."""

    step: str
    clock: str
    size: str


def failure_view(state: RunState) -> FailureView:
    """Return the failure card of a run."""
    if state.error is None or state.status not in {"failed", "interrupted"}:
        return FailureView()
    if state.checkpoint_step:
        step = units.count(state.checkpoint_step)
        lost = max(0, state.step - state.checkpoint_step)
        safe = f"Checkpoint at step {step}", "verified when it was written"
        again = (
            f"{units.count(lost)} step{'' if lost == 1 else 's'} taken again" if lost else "no step is lost"
        )
        resume = f"Resume at step {step}", f"From the verified checkpoint; {again}."
    else:
        safe = "Data and settings", "unchanged; no checkpoint was written yet"
        resume = "Start this run again", "No checkpoint was written yet; it begins at step 1."
    return FailureView(state.error["code"], state.error["message"], state.error["hint"], *safe, *resume)


def setting_items(spec: TrainSpec, origins: dict[str, Origin]) -> list[SettingItem]:
    """Return every field of the spec with its value and where the value came from."""
    items = []
    for field in train_fields():
        origin = origins.get(field.name)
        source = "default" if origin is None else _ORIGINS.get(origin.source, origin.source)
        items.append(SettingItem(field.label, value_text(getattr(spec, field.name)), source))
    return items


def value_text(value: Any) -> str:
    """Return a value of the spec as a person reads it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return units.rate(value) if 0 < abs(value) < 0.01 else f"{value:g}"
    return units.count(value) if isinstance(value, int) and value >= 10_000 else str(value)


def checkpoint_items(events: Iterable[ev.Event], zone: tzinfo | None) -> list[CheckpointItem]:
    """Return the checkpoints of a run, newest first; a step taken again counts once."""
    by_step: dict[int, CheckpointItem] = {}
    for event in events:
        if isinstance(event.body, ev.CheckpointSaved):
            by_step[event.body.step] = CheckpointItem(
                units.count(event.body.step),
                f"{event.ts.astimezone(zone):%H:%M:%S}",
                units.file_size(event.body.size_bytes),
            )
    return [by_step[step] for step in sorted(by_step, reverse=True)]


def without_warnings(lines: Sequence[str]) -> list[str]:
    """Return the lines of a worker's log without the warnings that Python libraries print into it.

    A warning takes its line, the source lines below it, which are indented, and an empty line at its end.
    """
    kept = []
    in_warning = False
    for line in lines:
        if _WARNING.match(line):
            in_warning = True
        elif in_warning and (not line.strip() or line[0].isspace()):
            in_warning = bool(line.strip())
        else:
            in_warning = False
            kept.append(line)
    return kept
