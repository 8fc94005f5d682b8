"""What the Settings page shows: every setting in its group, the checks of this machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from backprop_app.views.detail import value_text
from backprop_core.services.configuration import SettingRow
from backprop_core.services.system import SystemInfo
from backprop_core.telemetry.checks import Check
from backprop_core.units import file_size, gib

_GROUPS: Final = (
    ("model", "Model"),
    ("training", "Training"),
    ("lora", "LoRA"),
    ("run", "Run"),
    ("", "This installation"),
)
_RUN_SECTIONS: Final = frozenset({"model", "training", "lora", "run"})
_ORIGINS: Final = {
    "default": "default",
    "config": "config.toml",
    "environment": "environment",
    "flag": "option",
}
_CHECK_TONES: Final = {"ok": "ok", "warn": "warn", "fail": "danger"}


@dataclass(frozen=True, slots=True)
class SettingItem:
    """A row; `text` is what its editor begins with."""

    key: str
    label: str
    description: str
    value: str
    text: str
    origin: str
    is_set: bool
    locked: str
    is_choice: bool
    choices: list[str] = field(default_factory=list)
    also: str = ""


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """The rows of one part of `config.toml`."""

    title: str
    note: str
    rows: list[SettingItem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One line of `doctor`."""

    name: str
    tone: str
    fact: str
    hint: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about the installation."""

    label: str
    value: str


def setting_groups(rows: Sequence[SettingRow], *, only_changed: bool) -> list[SettingGroup]:
    """Return the settings by group; groups without a row are left out."""
    shown = [row for row in rows if not only_changed or row.origin.source != "default"]
    groups = [
        SettingGroup(
            title,
            "holds from the next start of the app" if not section else "holds for the next run",
            [_item(row) for row in shown if _section(row.key) == section],
        )
        for section, title in _GROUPS
    ]
    return [group for group in groups if group.rows]


def check_items(checks: Iterable[Check]) -> list[CheckItem]:
    """Return the checks of the machine, as `backprop doctor` tells them."""
    return [CheckItem(check.name, _CHECK_TONES[check.status], check.fact, check.hint) for check in checks]


def facts_of(info: SystemInfo) -> list[Fact]:
    """Return versions and device."""
    libraries = [Fact(name, version) for name, version in info.libraries.items() if version]
    return [
        Fact("Backpropagate", info.version),
        Fact("Python", info.python),
        Fact("System", info.system),
        Fact("Card", info.gpu_name or "none"),
        Fact("Card memory", gib(info.gpu_memory_bytes) if info.gpu_memory_bytes else "–"),
        Fact("PyTorch build", info.torch_build or "–"),
        Fact("CUDA", info.cuda_version or "–"),
        Fact("Disk free", file_size(info.disk_free_bytes)),
        *libraries,
    ]


def checks_text(items: Sequence[CheckItem]) -> str:
    """Return the sum of the checks: "all in order", or how many need a look."""
    bad = sum(item.tone == "danger" for item in items)
    odd = sum(item.tone == "warn" for item in items)
    parts = [f"{bad} to mend"] if bad else []
    parts += [f"{odd} to look at"] if odd else []
    return ", ".join(parts) or "all in order"


def _section(key: str) -> str:
    section = key.partition(".")[0]
    return section if section in _RUN_SECTIONS else ""


def _item(row: SettingRow) -> SettingItem:
    words = [word for word in row.choices if not row.is_choice]
    return SettingItem(
        key=row.key,
        label=row.label,
        description=row.description,
        value=_shown(row.value),
        text=_text(row.value),
        origin=_ORIGINS.get(row.origin.source, row.origin.source),
        is_set=row.origin.source == "config" and not row.locked,
        locked=row.locked,
        is_choice=row.is_choice,
        choices=list(row.choices) if row.is_choice else [],
        also=f"A number, or {' or '.join(words)}." if words else "",
    )


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "set, not shown"
    return str(value) if isinstance(value, Path) else value_text(value)


def _text(value: Any) -> str:
    """Return a value as it is typed; a secret is never handed out."""
    if value is None or isinstance(value, SecretStr):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
