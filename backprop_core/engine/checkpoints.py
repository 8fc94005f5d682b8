"""Checkpoints on the disk: written whole or not at all, verified before they are trusted.

A checkpoint is staged beside its final name, its manifest with size and hash of every file is
written last, and a rename makes it visible. Knows nothing of what the files hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from backprop_core import files, platform
from backprop_core.errors import StateError

MANIFEST: Final = "MANIFEST.json"
KEPT: Final = 3

_NAME: Final = re.compile(r"step-(\d{6,})\Z")


class FileFacts(BaseModel):
    """Size and hash of one file of a checkpoint."""

    model_config = ConfigDict(frozen=True)

    size_bytes: int
    sha256: str


class Identity(BaseModel):
    """What a checkpoint belongs to; it continues nothing else.

    Attributes:
        run_id: the run.
        config_sha256: of the spec without its names and folders.
        data_sha256: of the data file.
        base: the base model and what tells its files from others.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    config_sha256: str
    data_sha256: str
    base: str

    def difference(self, other: Identity) -> str | None:
        """Return in words what differs from `other`, or None."""
        for field, what in (
            ("run_id", "it belongs to another run"),
            ("config_sha256", "the settings of the run changed"),
            ("data_sha256", "the data file changed since it was written"),
            ("base", "the base model changed since it was written"),
        ):
            if getattr(self, field) != getattr(other, field):
                return what
        return None


class Manifest(BaseModel):
    """What a checkpoint holds; `digest` is over everything else in it."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = 1
    identity: Identity
    attempt: int
    step: int
    is_best: bool
    created_at: str
    files: dict[str, FileFacts]
    digest: str = ""

    def sealed(self) -> Manifest:
        """Return the manifest with its digest."""
        content = orjson.dumps(self.model_dump(exclude={"digest"}), option=orjson.OPT_SORT_KEYS)
        return self.model_copy(update={"digest": hashlib.sha256(content).hexdigest()})


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        root: the folder that holds them; made when the first one is written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, step: int) -> Path:
        """Return where the checkpoint of a step lies."""
        return self._root / f"step-{step:06d}"

    def steps(self) -> list[int]:
        """Return the steps that have a folder, newest first; nothing is verified."""
        if not self._root.is_dir():
            return []
        found = (_NAME.match(path.name) for path in self._root.iterdir())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def write(
        self,
        identity: Identity,
        *,
        step: int,
        attempt: int,
        created_at: str,
        write_files: Callable[[Path], None],
        is_best: bool = False,
    ) -> Path:
        """Write a checkpoint and return its folder; afterwards only the newest and the best are kept.

        Args:
            write_files: writes the content into the folder it is given.

        Raises:
            OSError: the disk refuses; nothing is left of the new checkpoint, the older ones stand.
        """
        self._root.mkdir(mode=0o700, exist_ok=True)
        target = self.path(step)
        staged = self._root / f"{target.name}.{secrets.token_hex(4)}.partial"
        staged.mkdir(mode=0o700)
        try:
            write_files(staged)
            manifest = Manifest(
                identity=identity,
                attempt=attempt,
                step=step,
                is_best=is_best,
                created_at=created_at,
                files={path.name: _settle(path) for path in sorted(staged.iterdir())},
            ).sealed()
            files.write_json(staged / MANIFEST, manifest.model_dump())
            platform.sync_directory(staged)
            if target.exists():
                self._discard(target)
            platform.replace(staged, target)
            platform.sync_directory(self._root)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        self._prune(step)
        return target

    def verify(self, step: int) -> Manifest:
        """Return the manifest of a checkpoint after reading every byte of it.

        Raises:
            StateError: STATE_CHECKPOINT_INVALID, naming what is wrong.
        """
        folder = self.path(step)
        manifest = self._manifest(step)
        present = {path.name for path in folder.iterdir()} - {MANIFEST}
        if present != set(manifest.files):
            odd = sorted(present ^ set(manifest.files))[0]
            raise _invalid(folder, f"{odd} is missing or does not belong there")
        for name, facts in manifest.files.items():
            path = folder / name
            if path.stat().st_size != facts.size_bytes or files.sha256_of(path) != facts.sha256:
                raise _invalid(folder, f"{name} is damaged")
        return manifest

    def newest_valid(self, on_invalid: Callable[[int, StateError], None]) -> Manifest | None:
        """Return the newest checkpoint that verifies; each newer one that does not is reported."""
        for step in self.steps():
            try:
                return self.verify(step)
            except StateError as error:
                on_invalid(step, error)
        return None

    def clean(self) -> None:
        """Remove what broken writes and removals left."""
        if self._root.is_dir():
            for path in self._root.glob("*.partial"):
                shutil.rmtree(path, ignore_errors=True)

    def _manifest(self, step: int) -> Manifest:
        folder = self.path(step)
        try:
            manifest = Manifest.model_validate(files.read_json(folder / MANIFEST))
        except (OSError, ValueError, ValidationError) as error:
            raise _invalid(folder, "its manifest is missing or damaged") from error
        if manifest.sealed().digest != manifest.digest or manifest.step != step:
            raise _invalid(folder, "its manifest was changed")
        return manifest

    def _prune(self, newest: int) -> None:
        """Remove all but the newest three and the best, once the newest stands whole."""
        older = [step for step in self.steps() if step != newest]
        best = next((step for step in self._best_first(older)), None)
        if self._manifest(newest).is_best:
            best = None
        for step in older[KEPT - 1 :]:
            if step != best:
                self._discard(self.path(step))

    def _best_first(self, steps: list[int]) -> Iterator[int]:
        for step in steps:
            with contextlib.suppress(StateError):
                if self._manifest(step).is_best:
                    yield step

    def _discard(self, folder: Path) -> None:
        """Take a folder out of sight in one step, then remove it."""
        trash = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.partial")
        platform.replace(folder, trash)
        shutil.rmtree(trash, ignore_errors=True)


def _settle(path: Path) -> FileFacts:
    """Flush a written file to the disk and return its facts."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
    return FileFacts(size_bytes=path.stat().st_size, sha256=files.sha256_of(path))


def _invalid(folder: Path, reason: str) -> StateError:
    return StateError("STATE_CHECKPOINT_INVALID", f"The checkpoint {folder.name} cannot be used: {reason}.")
