"""The Train form: its choices, the fields of the Advanced panel, and the page's twin as command and Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import quote

from backprop_app.views.detail import value_text
from backprop_core import units
from backprop_core.config.presets import MODEL_PRESETS, ModelPreset
from backprop_core.config.schema import SchemaField, train_field, train_fields
from backprop_core.config.specs import TrainSpec
from backprop_core.services.training import Draft

# Chosen elsewhere on the page, or not the page's to choose.
_NOT_ADVANCED: Final = frozenset({"model", "dataset", "output_dir", "lora_preset", "steps", "epochs"})
# Named where the data is: they say how much of it is used.
_COUNTS: Final = ("steps", "epochs", "samples")
_ON: Final = "on"
_OFF: Final = "off"


@dataclass(frozen=True, slots=True)
class Option:
    """A model or data file to choose."""

    key: str
    label: str
    note: str
    aside: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The few fields outside the Advanced panel, in words."""

    model: str = ""
    model_note: str = ""
    data: str = ""
    data_note: str = ""
    data_href: str = ""
    preset: str = "quality"
    preset_note: str = ""
    amount_kind: str = "steps"
    amount: str = ""
    amount_key: str = ""


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field of the Advanced panel. `rule` is what it is when nobody changes it."""

    name: str
    label: str
    help: str
    value: str
    rule: str
    choices: list[str]
    changed: bool
    error: str
    key: str


def model_options(cached: Mapping[str, str]) -> list[Option]:
    """Return the presets; `cached` maps hub ids that are on this machine to a word about it."""
    return [_model_option(preset, cached) for preset in MODEL_PRESETS]


def _model_option(preset: ModelPreset, cached: Mapping[str, str]) -> Option:
    licence = f"{preset.licence}, gated" if preset.is_gated else preset.licence
    return Option(
        key=preset.key,
        label=preset.hub_id.rpartition("/")[2],
        note=f"{units.compact(preset.parameters)}, {licence}",
        aside=cached.get(preset.hub_id, ""),
    )


def data_options(paths: Sequence[Path], examples: Path) -> list[Option]:
    """Return the data files that may be read, the shipped ones marked."""
    return [
        Option(
            key=str(path),
            label=path.name,
            note=units.file_size(path.stat().st_size),
            aside="shipped" if path.parent == examples else "",
        )
        for path in paths
    ]


_PRESET_NOTES: Final = {
    "quality": "Rank 256 on all linear layers: the most room to learn, the most memory.",
    "fast": "Rank 16 on q and v: little memory, less room to learn.",
    "auto": "The smallest rank that covers the data and fits this machine.",
}


def choice(
    draft: Mapping[str, str],
    base: Mapping[str, Any],
    result: Draft,
    models: Sequence[Option],
    data: Sequence[Option],
    revision: int,
) -> Choice:
    """Return the fields outside the Advanced panel.

    Args:
        draft: what the user chose.
        base: the spec where the user chose nothing.
        result: the plan of the draft.
        models: that can be chosen.
        data: files that can be chosen.
        revision: counts resets, so that an input forgets what was typed.
    """
    model = draft.get("model", str(base["model"]))
    dataset = draft.get("dataset", "")
    preset = draft.get("lora_preset", str(base["lora_preset"]))
    kind = "epochs" if draft.get("epochs") else "steps"
    known_model = next((option for option in models if option.key == model), None)
    return Choice(
        model=known_model.label if known_model else model,
        model_note=known_model.note if known_model else "",
        data=PurePath(dataset).name,
        data_note=_data_note(result, dataset, data),
        data_href=f"/dataset?file={quote(dataset, safe='')}" if dataset else "",
        preset=preset,
        preset_note=_PRESET_NOTES.get(preset, ""),
        amount_kind=kind,
        amount=draft.get(kind, _as_text(base[kind])),
        amount_key=f"length-{kind}-{revision}",
    )


def _data_note(result: Draft, dataset: str, data: Sequence[Option]) -> str:
    plan = result.plan
    parts = []
    if plan is not None and plan.rows and plan.epochs:
        rows = max(1, round(plan.rows / plan.epochs))
        parts.append(f"{units.count(rows)} row{'' if rows == 1 else 's'}")
    if plan is not None and plan.supervised_share is not None:
        parts.append(f"{100 * plan.supervised_share:.0f}{units.NBSP}% carries loss")
    parts += [option.aside for option in data if option.key == dataset and option.aside]
    return ", ".join(parts)


def advanced_text(fields: Sequence[FieldView]) -> str:
    """Return what the folded panel says: "26 settings, none changed"."""
    changed = sum(field.changed for field in fields)
    return f"{len(fields)} settings, {changed or 'none'} changed"


def draft_of(spec: TrainSpec) -> dict[str, str]:
    """Return the draft that asks for `spec` again: every field that is not at its default."""
    draft = {"model": spec.model, "dataset": spec.dataset, "lora_preset": spec.lora_preset}
    for field in train_fields():
        value = getattr(spec, field.name)
        if field.name not in {"output_dir", "name", *draft} and value != field.default:
            draft[field.name] = _as_text(value)
    return draft


def advanced_fields(
    draft: Mapping[str, str], spec: Mapping[str, Any], errors: Mapping[str, str], revision: int
) -> list[FieldView]:
    """Return the fields of the Advanced panel.

    Args:
        draft: the values the user changed.
        spec: the values that hold without the draft: defaults, preset, config file.
        errors: messages by field.
        revision: counts resets, so that an input forgets what was typed.
    """
    return [
        field_view(field, draft, spec, errors, revision)
        for field in train_fields()
        if field.name not in _NOT_ADVANCED
    ]


def field_view(
    field: SchemaField,
    draft: Mapping[str, str],
    spec: Mapping[str, Any],
    errors: Mapping[str, str],
    revision: int,
) -> FieldView:
    """Return one field of a form; arguments as for `advanced_fields`."""
    rule = _as_text(spec.get(field.name, field.default))
    choices = [_ON, _OFF] if field.kind == "bool" else list(field.choices) if field.kind == "choice" else []
    limits = f" {field.limits[:1].upper()}{field.limits[1:]}." if field.limits else ""
    return FieldView(
        name=field.name,
        label=field.label,
        help=field.description + limits,
        value=draft.get(field.name, rule),
        rule=value_text(spec.get(field.name, field.default)),
        choices=choices,
        changed=field.name in draft,
        error=errors.get(field.name, ""),
        key=f"{field.name}-{revision}",
    )


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _ON if value else _OFF
    return f"{value:g}" if isinstance(value, float) else str(value)


def command_twin(draft: Mapping[str, str]) -> tuple[str, str]:
    """Return the command that starts the same run: its name, and its flags."""
    flags: list[str] = []
    for name, text in draft.items():
        field = train_field(name)
        flags.extend(flag_words(field, text))
    return "backprop train", " ".join(flags)


def flag_words(field: SchemaField, text: str) -> list[str]:
    """Return the words of a command that set `field` to `text`."""
    flag = field.short or field.flag
    if field.kind == "bool":
        yes, _, no = field.flag.partition("/")
        return [yes if text == _ON else no or f"--no-{yes.removeprefix('--')}"]
    shown = shown_path(text) if field.name == "dataset" else text
    return [flag, shlex.quote(shown)]


def python_twin(draft: Mapping[str, str]) -> str:
    """Return the Python line that starts the same run."""
    apart = {"model", "dataset", *_COUNTS}
    keywords = {name: text for name, text in draft.items() if name not in apart}
    given = [json.dumps(draft["model"])] if "model" in draft else []
    given += [f"{name}={_literal(train_field(name), text)}" for name, text in keywords.items()]
    train = [json.dumps(shown_path(draft.get("dataset", "")))]
    train += [f"{name}={draft[name]}" for name in _COUNTS if draft.get(name)]
    return f"Trainer({', '.join(given)}).train({', '.join(train)})"


def _literal(field: SchemaField, text: str) -> str:
    if field.kind == "bool":
        return "True" if text == _ON else "False"
    if field.kind in {"int", "float"} and text not in field.choices:
        return text or "None"
    return json.dumps(text)


def shown_path(path: str) -> str:
    """Return a path relative to the folder the app was started in, when it lies below it."""
    if not path or not Path(path).is_absolute():
        return path
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path
