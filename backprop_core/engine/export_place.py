"""The place where an export appears: made beside it under one lock, then moved there whole.

Nothing stands under the final name before everything is written. What a killed job left is cleared by
the next export to the same name, and only when its name is one of ours.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core import files, platform
from backprop_core.config.exports import CARD_SUFFIX, MODELFILE_SUFFIX, report_path
from backprop_core.errors import InputError, RunError, StateError
from backprop_core.sandbox import Sandbox

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class ExportPlace:
    """Where an export goes.

    Attributes:
        final: the file or folder that appears.
        job_id: of the job that makes it.
        locks: folder of lock files, one per final name.
        root: folder of the web app, when it asked for the export: no link below it is followed.
    """

    final: Path
    job_id: str
    locks: Path
    root: Path | None = None

    @property
    def report(self) -> Path:
        """The report beside the export."""
        return report_path(self.final)

    def is_done(self) -> bool:
        """Return whether an earlier attempt of this job has put its export in place."""
        return self.final.exists() and _read_report(self.report).get("job_id") == self.job_id

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield an empty folder for the work; it vanishes when the block ends.

        Raises:
            StateError: STATE_RUN_LOCKED, another export writes to the same name.
            InputError: INPUT_OUTPUT_DIR_NOT_OURS, something stands there already; INPUT_PATH_TRAVERSAL,
                the folder leads out of the web app's own.
            RunError: RUNTIME_DISK_FULL or RUNTIME_GGUF_EXPORT_FAILED for what the disk refuses.
        """
        with _failures_coded(self.final), self._only_writer():
            self._require_new()
            self._make_folder()
            self._clear_leftovers()
            stage = self.final.with_name(f"{self.final.name}.{self.job_id[:8]}.partial")
            stage.mkdir(mode=0o700)
            try:
                yield stage
            finally:
                shutil.rmtree(stage, ignore_errors=True)

    def publish(self, stage: Path) -> None:
        """Move everything in `stage` beside each other into place, the export itself last."""
        self._require_new()
        self._make_folder()
        made = sorted(stage.iterdir(), key=lambda path: path.name == self.final.name)
        for path in made:
            platform.replace(path, self.final.with_name(path.name))
        platform.sync_directory(self.final.parent)

    def _make_folder(self) -> None:
        """Make the folder of the export; the web app's is reached from its root without a link."""
        if self.root is None:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            return
        parts = self.final.parent.relative_to(self.root).parts
        box = Sandbox(self.root)
        box.make_folders(*parts)
        with box.held(*parts):
            pass

    @contextlib.contextmanager
    def _only_writer(self) -> Iterator[None]:
        self.locks.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(str(self.final.absolute()).encode()).hexdigest()[:32]
        lock = platform.FileLock(self.locks / f"{key}.lock")
        if not lock.acquire():
            raise StateError(
                "STATE_RUN_LOCKED",
                f"Another export is writing {self.final}.",
                hint="Wait for it, or choose another name.",
            )
        try:
            yield
        finally:
            lock.release()

    def _require_new(self) -> None:
        """Refuse to replace anything but the report, card and Modelfile of a job that was killed in between."""
        modelfile = self.final.with_name(self.final.name + MODELFILE_SUFFIX)
        card = self.final.with_name(self.final.name + CARD_SUFFIX)
        taken = [path for path in (self.final, self.report, modelfile, card) if path.exists()]
        is_leftover = self.final not in taken and _read_report(self.report).get("file") == self.final.name
        if taken and not is_leftover:
            raise InputError(
                "INPUT_OUTPUT_DIR_NOT_OURS",
                f"{taken[0]} exists already and is not replaced.",
                hint="Choose another name with `--output`, or move it away.",
            )

    def _clear_leftovers(self) -> None:
        ours = re.compile(re.escape(self.final.name) + r"\.[0-9a-f]{8}\.partial")
        for path in self.final.parent.iterdir():
            if ours.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def _read_report(path: Path) -> dict[str, Any]:
    try:
        value = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


@contextlib.contextmanager
def _failures_coded(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RunError(
                "RUNTIME_DISK_FULL", f"The disk of {final.parent} is full; nothing was left there."
            ) from error
        raise RunError(
            "RUNTIME_GGUF_EXPORT_FAILED", f"{final} could not be written: {error.strerror or error}."
        ) from error
