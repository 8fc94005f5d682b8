"""Every setting with its value and origin, and how `config.toml` is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
from backprop_core.errors import ConfigError

CONFIG_FILE: Final = "config.toml"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: `key` is its name in `config.toml`."""

    key: str
    value: Any
    origin: Origin
    variable: str


def list_settings() -> list[SettingRow]:
    """Return every setting as it stands now: those of a run first, then those of the installation.

    Raises:
        ConfigError: environment or file hold a value that cannot be used.
    """
    settings, origins = load_settings()
    resolved = resolve_train([config_layer(settings.home / CONFIG_FILE), environment_layer()])
    run = [
        SettingRow(
            _run_key(field), getattr(resolved.spec, field.name), resolved.origins[field.name], field.env
        )
        for field in train_fields()
    ]
    installation = [
        SettingRow(
            name.replace("__", "."), getattr(settings, name), origins[name], f"{ENV_PREFIX}{name}".upper()
        )
        for name in Settings.model_fields
    ]
    return [*run, *installation]


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
