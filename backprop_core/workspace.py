"""One object that carries what services need: settings, folders, index, launcher, clock.

No module keeps global state; a test builds a Workspace on a temporary folder with its own launcher.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from backprop_core.config.resolve import Origin
from backprop_core.config.settings import Settings, load_settings
from backprop_core.errors import StateError
from backprop_core.platform import FileLock, private_umask
from backprop_core.ports import Clock, Launcher, SystemClock
from backprop_core.runs import index
from backprop_core.runs.database import Database, set_aside
from backprop_core.sandbox import Sandbox

STORE_FILE: Final = "store.db"


@dataclass(frozen=True)
class Workspace:
    """The installation as services see it.

    Attributes:
        data_dirs: folders named at start that the web app may read data from.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    database: Database
    launcher: Launcher
    clock: Clock
    data_dirs: tuple[Path, ...] = field(default=())

    @classmethod
    def open(
        cls,
        launcher: Launcher,
        *,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        data_dirs: tuple[Path, ...] = (),
    ) -> Workspace:
        """Read the settings and open the store, made anew from the run folders when it is damaged.

        Raises:
            ConfigError: a setting cannot be used.
            StateError: STATE_STORE_INVALID when the home cannot hold a store.
        """
        clock = clock or SystemClock()
        settings, origins = load_settings(environ, overrides=overrides)
        _prepare_home(settings.home)
        database = _open_database(settings, clock)
        return cls(settings, origins, database, launcher, clock, data_dirs)

    @property
    def home(self) -> Path:
        """The folder of the store, the cache and the web app's files."""
        return self.settings.home

    @property
    def sandbox(self) -> Sandbox:
        """The folder that the web app writes to."""
        return Sandbox(self.settings.sandbox_root)

    @property
    def scheduler_lock(self) -> Path:
        """Held by the one process that launches workers."""
        return self.home / "scheduler.lock"

    @property
    def slot_lock(self) -> Path:
        """Held by whoever trains: one job at a time on one card."""
        return self.home / "slot.lock"

    @property
    def roots_file(self) -> Path:
        """The list of every folder that ever held runs."""
        return self.home / "run-roots.json"

    def now(self) -> str:
        """Return the wall time as ISO text with zone."""
        return self.clock.now().isoformat(timespec="milliseconds")

    def close(self) -> None:
        """Close the store."""
        self.database.close()


def _prepare_home(home: Path) -> None:
    """Create the home for the user alone and check that it holds locks."""
    try:
        with private_umask():
            home.mkdir(parents=True, exist_ok=True)
            (home / "logs").mkdir(exist_ok=True)
        lock = FileLock(home / "probe.lock")
        lock.acquire()
        lock.release()
    except OSError as error:
        raise StateError(
            "STATE_STORE_INVALID",
            f"{home} cannot hold the store: {error.strerror or error}.",
        ) from error


def _open_database(settings: Settings, clock: Clock) -> Database:
    path = settings.home / STORE_FILE
    is_new = not path.exists()
    try:
        database = Database(path)
    except sqlite3.OperationalError as error:
        raise StateError("STATE_STORE_INVALID", f"{path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError:
        set_aside(path, clock.now().strftime("%Y%m%d-%H%M%S"))
        database, is_new = Database(path), True
    if is_new:
        roots = index.known_roots(settings.home / "run-roots.json")
        index.rebuild(database, roots, clock.now().isoformat(timespec="milliseconds"))
    return database
