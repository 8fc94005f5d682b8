"""Shows a transfer: a bar on a terminal, one line per phase elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from backpropagate.cli.render import console, talk

if TYPE_CHECKING:
    from backprop_core.hub import records


@contextlib.contextmanager
def transfer_progress(name: str) -> Iterator[records.Progress]:
    """Yield a function that takes bytes done, bytes in all when known, and the phase."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _plain(name)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True) as bars:
        task = bars.add_task(name, total=None)

        def show(done_bytes: int, total_bytes: int | None, phase: str) -> None:
            bars.update(task, description=f"{name}: {phase}", completed=done_bytes, total=total_bytes)

        yield show


def _plain(name: str) -> records.Progress:
    told: set[str] = set()

    def show(done_bytes: int, total_bytes: int | None, phase: str) -> None:
        if phase not in told:
            told.add(phase)
            talk(f"{name}: {phase}")

    return show
