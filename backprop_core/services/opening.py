"""Opens the Workspace of this machine with the real launcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backprop_core.jobs.launcher import ProcessLauncher
from backprop_core.workspace import Workspace


def open_workspace(
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dirs: tuple[Path, ...] = (),
) -> Workspace:
    """Open the store of this machine.

    Args:
        environ: the environment to read settings from; the process's own by default.
        overrides: settings given as flags or keywords, by field name.
        data_dirs: folders that the web app may read data from.

    Raises:
        ConfigError: a setting cannot be used.
        StateError: the home cannot hold a store.
    """
    return Workspace.open(ProcessLauncher(environ), environ=environ, overrides=overrides, data_dirs=data_dirs)
