"""Data sets of the hub as local files: named by hand, on the page, or by `train --data owner/name`.

A fetched file is like any other; its recipe says where it came from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from backprop_core.datasets.hub_rows import HubSource, is_hub_dataset
from backprop_core.datasets.versions import Version
from backprop_core.datasets.versions import fetch as fetch_version
from backprop_core.errors import InputError
from backprop_core.hub.hub_fetch import saved_token
from backprop_core.runs.store import check_output_folder
from backprop_core.services.data_changes import FOLDER
from backprop_core.workspace import Workspace

_CACHE: Final = "datasets"


class FetchJob:
    """A transfer that another thread watches through `rows` and may cancel."""

    def __init__(self) -> None:
        self.rows = 0
        self._cancelled = threading.Event()

    def on_rows(self, rows: int) -> None:
        """Note how far the transfer is; ends it when it was cancelled.

        Raises:
            FetchCancelledError: after `cancel`.
        """
        self.rows = rows
        if self._cancelled.is_set():
            raise FetchCancelledError

    def cancel(self) -> None:
        """Ask the transfer to end; nothing of it stays."""
        self._cancelled.set()


class FetchCancelledError(Exception):
    """Nobody waits for the transfer any more."""


def file_name(source: HubSource) -> str:
    """Return the name of the file that holds a data set of the hub."""
    split = "".join(letter if letter.isalnum() else "-" for letter in source.split)
    config = f"-{source.config}" if source.config else ""
    return f"{source.repo.replace('/', '--')}{config}-{split}.jsonl"


def fetch(ws: Workspace, source: HubSource, target: Path, on_rows: Callable[[int], None]) -> Version:
    """Fetch a data set into a file that the user named.

    Raises:
        InputError: the data set cannot be read, or `target` exists.
        DependencyError: DEP_EXTRA_MISSING.
        StateError: SANDBOX_NOT_WRITABLE.
    """
    check_output_folder(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    now = ws.clock.now().astimezone()
    return fetch_version(source, target, token=saved_token(), now=now, on_rows=on_rows)


def fetch_for_page(ws: Workspace, source: HubSource, job: FetchJob) -> Path:
    """Fetch a data set into the folder of the web app; one that is there already is kept.

    Raises:
        FetchCancelledError: the job was cancelled; nothing was kept.
        InputError: the data set cannot be read.
        DependencyError: DEP_EXTRA_MISSING.
    """
    ws.sandbox.prepare()
    target = ws.sandbox.path(FOLDER, file_name(source))
    if not target.is_file():
        fetch(ws, source, target, job.on_rows)
    return target


def local_data(
    ws: Workspace, data: str, on_rows: Callable[[int], None] = lambda _: None, *, may_fetch: bool = True
) -> str:
    """Return the file for what a run names as its data; a hub id is fetched into the cache once.

    Args:
        data: a path, or the id of a data set on the hub.
        on_rows: told the number of rows that are here.
        may_fetch: False for a look that creates nothing.

    Raises:
        InputError: the data set cannot be read, or must be fetched first.
        DependencyError: DEP_EXTRA_MISSING.
    """
    if Path(data).expanduser().exists() or not is_hub_dataset(data):
        return data
    source = HubSource(data)
    target = ws.settings.cache_dir.parent / _CACHE / file_name(source)
    if not target.is_file():
        if not may_fetch:
            raise InputError(
                "INPUT_DATASET_NOT_FOUND",
                f"The data set {data!r} is not on this machine yet.",
                hint=f"`backprop data fetch {data}` fetches it.",
            )
        fetch(ws, source, target, on_rows)
    return str(target)


def hub_source(repo: str, split: str = "", config: str = "", rows: str = "") -> HubSource:
    """Return what the fields of a form describe; an empty one keeps its default.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, `rows` is no number above zero.
    """
    digits = rows.strip().replace(",", "")
    if digits and (not digits.isdecimal() or not int(digits[:12]) > 0):
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"Rows is {rows[:60]!r}; it must be a whole number above 0."
        )
    return HubSource(
        repo.strip(), split.strip() or "train", config.strip() or None, limit=int(digits) if digits else None
    )
