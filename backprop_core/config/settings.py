"""Settings of the installation: folders, port, logging, security. A run's own fields are in `specs`.

Every value keeps its origin. Secrets stay out of `repr` and of every listing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from backprop_core.config.campaigns import campaign_fields
from backprop_core.config.resolve import Origin, read_config, unknown_setting
from backprop_core.config.schema import ENV_PREFIX, train_fields
from backprop_core.errors import ConfigError


class Settings(BaseModel):
    """What holds for every run on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(
        Path("~/.backpropagate"), description="Folder of the store, the cache and the web app's files."
    )
    ui__output_dir: Path | None = Field(
        None, description="Folder that the web app writes to; `<home>/ui-outputs`."
    )
    ui__port: int = Field(7860, ge=1, le=65535, description="Port of the web app.")
    ui__host: str = Field("127.0.0.1", description="Address that the web app listens on.")
    ui__upload_limit_mib: int = Field(
        512, ge=1, le=1 << 20, description="Largest file that can be uploaded, in MiB."
    )
    ui__quota_gib: int | None = Field(
        None,
        ge=1,
        le=1 << 20,
        description="Most that the web app's folder may hold, in GiB; no limit if unset.",
    )
    ui__trash_days: int = Field(
        30, ge=0, le=3650, description="After so many days the trash offers to remove a thing for good."
    )
    ui__auth: SecretStr | None = Field(
        None, description="Login of the web app as `user:password`; not in `config.toml`."
    )
    ui__auth_file: Path | None = Field(
        None, description="File with one line `user:password` that only its owner can read."
    )
    security__require_auth_for_share: bool = Field(
        True, description="Sharing needs a login; false is refused, there is no way around it."
    )
    security__trust_published_loopback: bool = Field(
        False,
        description="Set by the image's compose file alone, which publishes the port on 127.0.0.1; refused "
        "elsewhere.",
    )
    ui__published_address: str = Field(
        "", description="Address of the machine on which the compose file publishes the port."
    )
    ui__allow_hosts: str = Field(
        "", description="Further names under which the web app may be reached, with commas between them."
    )
    notify__webhook: SecretStr | None = Field(
        None,
        description="Address (http or https) that is told when a run is done or failed; on this machine or "
        "in its network too, link-local ones never. Not settable from the web app.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged."
    )
    log_json: bool = Field(False, description="Log lines as JSON.")
    log_file: Path | None = Field(None, description="Also log to this file.")
    debug: bool = Field(False, description="Show tracebacks of failures on the terminal.")

    @field_validator("security__require_auth_for_share")
    @classmethod
    def _keep_the_login(cls, value: bool) -> bool:
        if not value:
            raise ValueError("whoever reaches the page can run code on this machine, so a login stays")
        return value

    @field_validator("notify__webhook")
    @classmethod
    def _require_web_address(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value()) if value is not None else None
        if parts is not None and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("it must begin with http:// or https:// and name a host")
        return value

    @property
    def sandbox_root(self) -> Path:
        """The folder that the web app writes to."""
        return self.ui__output_dir or self.home / "ui-outputs"

    @property
    def cache_dir(self) -> Path:
        """Where base models lie."""
        return self.home / "cache" / "models"


# May carry a token, so that it is never shown, logged or given to a worker.
SECRETS: Final = frozenset({"ui__auth", "notify__webhook"})

# The file's own place, a secret that others may read with the file, and what describes one start of a container.
NOT_IN_FILE: Final = frozenset(
    {"home", "ui__auth", "security__trust_published_loopback", "ui__published_address"}
)

_VARIABLES: Final = {f"{ENV_PREFIX}{name}".upper(): name for name in Settings.model_fields}

# Read by other parts of the product or by its image, at another place than `Settings`.
_OTHER_VARIABLES: Final = frozenset({f"{ENV_PREFIX}TEST_CACHE", f"{ENV_PREFIX}LAUNCH_ID"})


def load_settings(
    environ: Mapping[str, str] | None = None, *, overrides: Mapping[str, Any] | None = None
) -> tuple[Settings, dict[str, Origin]]:
    """Read the settings of this machine.

    Args:
        environ: the environment; the process's own by default.
        overrides: values of flags or keywords, by field name; None means not given.

    Raises:
        ConfigError: a value outside its range, or an unknown name with the nearest match.
    """
    environ = os.environ if environ is None else environ
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    values: dict[str, Any] = {_VARIABLES[key]: text for key, text in environ.items() if key in _VARIABLES}
    origins = {name: Origin("default") for name in Settings.model_fields}
    home = find_home(environ, given.get("home"))
    from_file = _file_values(home / "config.toml")
    origins.update({name: Origin("config", str(home / "config.toml")) for name in from_file})
    origins.update({name: Origin("environment", f"{ENV_PREFIX}{name}".upper()) for name in values})
    origins.update({name: Origin("flag") for name in given})
    merged = {**from_file, **values, **given, "home": home}
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        detail = error.errors()[0]
        name, reason = str(detail["loc"][0]), detail["msg"].removeprefix("Value error, ")
        shown = "what it is" if name in SECRETS else repr(str(detail["input"])[:80])
        raise ConfigError(
            "CONFIG_INVALID_SETTING", f"{name.replace('__', '.')} cannot be {shown}: {reason}."
        ) from error
    return settings, origins


def find_home(environ: Mapping[str, str] | None = None, given: Path | str | None = None) -> Path:
    """Return the folder of the store as an absolute path, without reading `config.toml` in it."""
    environ = os.environ if environ is None else environ
    named = given or environ.get(f"{ENV_PREFIX}HOME") or Settings.model_fields["home"].default
    home = Path(named).expanduser()
    return Path(os.path.abspath(home))  # noqa: PTH100 - links in the home stay as the user named them


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[ConfigError]:
    """Return one error per variable with our prefix that sets nothing, each with the nearest name."""
    environ = os.environ if environ is None else environ
    fields = (*train_fields(), *campaign_fields())
    known = {*_VARIABLES, *_OTHER_VARIABLES, *(field.env for field in fields)}
    return [
        unknown_setting(key, known, "The environment")
        for key in sorted(environ)
        if key.startswith(ENV_PREFIX) and key not in known
    ]


def _file_values(path: Path) -> dict[str, Any]:
    tables = read_config(path)
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if key in {"model", "training", "lora", "run", "multi_run"}:
            continue
        if isinstance(value, dict):
            found.update({f"{key}__{name}": item for name, item in value.items()})
        else:
            found[key] = value
    for name in found:
        if name not in Settings.model_fields or name in NOT_IN_FILE:
            known = [field for field in Settings.model_fields if field not in NOT_IN_FILE]
            raise unknown_setting(
                name.replace("__", "."), [field.replace("__", ".") for field in known], str(path)
            )
    return found
