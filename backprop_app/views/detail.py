"""The lower half of a run's page: failure, settings with their origin, checkpoints."""

from __future__ import annotations

import dataclasses
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
from backprop_core.services.failure import FailureCard

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
class FixItem:
    """One fix of the card; `number` is what its button sends."""

    number: int
    title: str
    effect: str
    is_resume: bool


@dataclass(frozen=True, slots=True)
class FailureView:
    """Why a run ended badly, and what is safe. An empty `code` means that it did not."""

    code: str = ""
    message: str = ""
    cause: str = ""
    hint: str = ""
    setting: str = ""
    safe_title: str = ""
    safe_text: str = ""
    fixes: list[FixItem] = dataclasses.field(default_factory=list)


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


def failure_view(card: FailureCard | None) -> FailureView:
    """Return the card of a run as the page shows it."""
    if card is None:
        return FailureView()
    fixes = [
        FixItem(number, fix.title, fix.effect, fix.action == "resume")
        for number, fix in enumerate(card.fixes)
    ]
    return FailureView(
        card.code,
        card.message,
        card.cause,
        card.next_step,
        card.setting,
        card.safe_title,
        card.safe_text,
        fixes,
    )


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
