"""The real worker with one misfortune on its way, named by EXPORT_WORKER_MEETS.

`die-writing`, `die-before-publishing`, `die-publishing`, `die-registering`: killed at that point.
`defect`: an error that nobody foresaw.
`hold-writing`: waits in the middle of writing until a stop is asked for.
`full-disk`: the disk is full after the first 64 KiB of a file.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from backprop_core import files, platform
from backprop_core.engine import run_export
from backprop_core.engine.context import PhaseReporter
from backprop_core.engine.worker import main
from backprop_core.runs.store import RunFolder

MEETS = os.environ.get("EXPORT_WORKER_MEETS", "")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def meet_in_the_middle() -> None:
    """Wrap the progress of writing."""
    plain = PhaseReporter.progress

    def progress(self: PhaseReporter, done: float, total: float | None) -> None:
        plain(self, done, total)
        if self._phase != "exporting":
            return
        if MEETS == "die-writing":
            die()
        control = RunFolder(Path(sys.argv[1]))
        while MEETS == "hold-writing" and control.control() is None:
            time.sleep(0.02)

    PhaseReporter.progress = progress  # type: ignore[method-assign]


def meet_at_the_end() -> None:
    """Wrap the moving into place."""
    plain = platform.replace

    def replace(source: Path, target: Path) -> None:
        is_publishing = source.parent.name.endswith(".partial") and not source.name.endswith(".partial")
        if is_publishing and MEETS == "die-before-publishing":
            die()
        plain(source, target)
        if is_publishing and MEETS == "die-publishing":
            die()

    platform.replace = replace


def meet_a_full_disk() -> None:
    """Wrap the atomic writer's stream."""
    plain = os.fdopen

    class Full:
        def __init__(self, stream: IO[bytes]) -> None:
            self._stream = stream
            self._left = 1 << 16

        def write(self, data: Any) -> int:
            self._left -= len(data)
            if self._left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._stream.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *details: object) -> None:
            self._stream.close()

    files.os.fdopen = lambda *arguments: Full(plain(*arguments))  # type: ignore[assignment]


def meet_ollama() -> None:
    """Wrap the handing over to Ollama."""
    run_export.register_export = lambda *arguments, **options: die()  # type: ignore[assignment]


def meet_a_defect() -> None:
    """Break the writing of the report."""
    run_export._report = lambda *arguments: {}["missing"]  # type: ignore[assignment]


if __name__ == "__main__":
    if MEETS in {"die-writing", "hold-writing"}:
        meet_in_the_middle()
    elif MEETS in {"die-before-publishing", "die-publishing"}:
        meet_at_the_end()
    elif MEETS == "die-registering":
        meet_ollama()
    elif MEETS == "defect":
        meet_a_defect()
    elif MEETS == "full-disk":
        meet_a_full_disk()
    sys.exit(main(sys.argv[1:]))
