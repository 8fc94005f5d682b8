"""Every setting with its value and origin, and how `config.toml` is changed.

The page may change less than the command: nothing that decides where files go or who reaches the app.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import SecretStr, ValidationError

from backprop_core import files, platform
from backprop_core.config.editing import Value, remove_value, set_value
from backprop_core.config.resolve import (
    Layer,
    Origin,
    config_layer,
    environment_layer,
    read_config,
    resolve_train,
    unknown_setting,
)
from backprop_core.config.schema import ENV_PREFIX, SchemaField, train_fields
from backprop_core.config.settings import NOT_IN_FILE, SECRETS, Settings, find_home, load_settings
from backprop_core.errors import ConfigError, InputError
from backprop_core.hub.names import understand

CONFIG_FILE: Final = "config.toml"

_LABELS: Final = {
    "home": "Home",
    "ui__output_dir": "Folder of the page",
    "ui__port": "Port",
    "ui__host": "Address",
    "ui__upload_limit_mib": "Largest upload",
    "ui__quota_gib": "Quota",
    "ui__trash_days": "Days in the trash",
    "ui__auth": "Login",
    "ui__auth_file": "Login file",
    "security__require_auth_for_share": "Login for sharing",
    "security__trust_published_loopback": "Trust of the container",
    "ui__published_address": "Published address",
    "ui__allow_hosts": "Further names",
    "notify__webhook": "Webhook",
    "log_level": "Log level",
    "log_json": "Log as JSON",
    "log_file": "Log file",
    "debug": "Tracebacks",
}


# Of the installation, the page may change these alone: whoever reaches it must not be able to widen what it
# reaches, where files go or whom the app talks to.
_OPEN: Final = frozenset({"ui.port", "ui.trash_days", "log_level", "log_json", "debug"})
_OF_EACH_RUN: Final = frozenset({"training.dataset", "run.name", "lora.from_adapter"})


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as it stands.

    Attributes:
        key: its name in `config.toml`.
        choices: the words it may take; for a number, words besides numbers.
        is_choice: whether it takes nothing but one of `choices`.
        locked: why the page cannot change it; empty when it can.
    """

    key: str
    value: Any
    origin: Origin
    variable: str
    label: str
    description: str
    choices: tuple[str, ...]
    is_choice: bool
    locked: str


def list_settings() -> list[SettingRow]:
    """Return every setting as it stands now: those of a run first, then those of the installation.

    Raises:
        ConfigError: environment or file hold a value that cannot be used.
    """
    settings, origins = load_settings()
    resolved = resolve_train([config_layer(settings.home / CONFIG_FILE), environment_layer()])
    run = [
        _run_row(field, getattr(resolved.spec, field.name), resolved.origins[field.name])
        for field in train_fields()
    ]
    installation = [
        _installation_row(name, getattr(settings, name), origins[name]) for name in Settings.model_fields
    ]
    return [*run, *installation]


def _run_row(field: SchemaField, value: Any, origin: Origin) -> SettingRow:
    key = _run_key(field)
    return SettingRow(
        key=key,
        value=value,
        origin=origin,
        variable=field.env,
        label=field.label,
        description=field.description,
        choices=("true", "false") if field.kind == "bool" else field.choices,
        is_choice=field.kind in {"choice", "bool"},
        locked=_locked(key, origin, field.env),
    )


def _installation_row(name: str, value: Any, origin: Origin) -> SettingRow:
    field = Settings.model_fields[name]
    key, variable = name.replace("__", "."), f"{ENV_PREFIX}{name}".upper()
    choices = ("true", "false") if field.annotation is bool else get_args(field.annotation)
    words = tuple(word for word in choices if isinstance(word, str))
    return SettingRow(
        key=key,
        value=value,
        origin=origin,
        variable=variable,
        label=_LABELS[name],
        description=field.description or "",
        choices=words,
        is_choice=bool(words),
        locked=_locked(key, origin, variable),
    )


def _locked(key: str, origin: Origin, variable: str) -> str:
    """Return why the page cannot change a setting."""
    if key == "home":
        return "The variable BACKPROPAGATE_HOME sets it, before the start."
    if key == "ui.auth":
        return "Set on this machine with `backprop auth set`."
    if key in {"run.output_dir", *_installation_fields()} - _OPEN:
        return f"Decides what the page reaches; set on this machine with `backprop config set {key} VALUE`."
    if key in _OF_EACH_RUN:
        return "Chosen for each run."
    if origin.source == "environment":
        return f"The variable {variable} decides; it ranks above the file."
    if origin.source == "flag":
        return "An option of this start decides; it ranks above the file."
    return ""


def change_setting_from_page(key: str, text: str) -> Value:
    """Set `key` as `change_setting` does, when the page may.

    Raises:
        ConfigError, InputError: see `change_setting`; the page may not change it, or a model is no preset
            and no hub id.
    """
    _require_unlocked(key)
    if key == "model.name" and understand(text).kind != "hub":
        raise InputError("INPUT_VALIDATION_FAILED", f"{text[:80]!r} is no preset and no hub id.")
    return change_setting(key, text)


def reset_setting_from_page(key: str) -> bool:
    """Take `key` out of `config.toml` as `reset_setting` does, when the page may.

    Raises:
        ConfigError, InputError: see `reset_setting`; the page may not change it.
    """
    _require_unlocked(key)
    return reset_setting(key)


def _require_unlocked(key: str) -> None:
    row = next((row for row in list_settings() if row.key == key), None)
    if row is None:
        raise unknown_setting(key, [*_run_fields(), *_installation_fields()], "The page")
    if row.locked:
        raise InputError("INPUT_VALIDATION_FAILED", f"The page cannot change {key}. {row.locked}")


def change_setting(key: str, text: str) -> Value:
    """Set `key` in `config.toml` to what `text` means and return the value, or stars for a secret one.

    Raises:
        ConfigError: CONFIG_INVALID_SETTING for an unknown name; the file is as it was.
        InputError: INPUT_VALIDATION_FAILED for a value outside its range; the file is as it was.
    """
    key = _known(key)
    value = _parse(key, text)
    path = find_home() / CONFIG_FILE
    _write(path, set_value(_read(path), key, value))
    return "********" if _installation_fields().get(key) in SECRETS else value


def reset_setting(key: str) -> bool:
    """Take `key` out of `config.toml`; return whether it was there.

    Raises:
        ConfigError: CONFIG_INVALID_SETTING for an unknown name.
    """
    path = find_home() / CONFIG_FILE
    before = _read(path)
    after = remove_value(before, _known(key))
    if after != before:
        _write(path, after)
    return after != before


def set_config_aside(stamp: str) -> Path | None:
    """Rename `config.toml` so that every default holds again; return its new name, None when there was none."""
    path = find_home() / CONFIG_FILE
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.{stamp}")
    path.rename(aside)
    return aside


def _known(key: str) -> str:
    keys = [*_run_fields(), *_installation_fields()]
    if key not in keys:
        raise unknown_setting(key, keys, "The command")
    return key


def _parse(key: str, text: str) -> Value:
    """Return `text` as the value of `key`, as TOML can hold it."""
    value: Any
    if (field := _run_fields().get(key)) is not None:
        value = getattr(resolve_train([Layer("explicit", {field: text})]).spec, field)
        return "none" if value is None else value
    name = _installation_fields()[key]
    try:
        value = getattr(Settings.model_validate({name: text}), name)
    except ValidationError as error:
        raise ConfigError(
            "CONFIG_INVALID_SETTING",
            f"{key} cannot be {'that' if name in SECRETS else repr(text[:80])}: {error.errors()[0]['msg']}.",
        ) from error
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


def _run_fields() -> dict[str, str]:
    return {_run_key(field): field.name for field in train_fields()}


def _run_key(field: SchemaField) -> str:
    return f"{field.section}.{field.env.rpartition('__')[2].lower()}"


def _installation_fields() -> dict[str, str]:
    names = [name for name in Settings.model_fields if name not in NOT_IN_FILE]
    return {name.replace("__", "."): name for name in names}


def _read(path: Path) -> str:
    read_config(path)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    with platform.private_umask():
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)
