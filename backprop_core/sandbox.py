"""The only folder that anything started in the browser may write to.

Names are checked on every system so that a run made on Linux opens on Windows. Files are opened by
walking from a directory handle without following links; a resolved path is never trusted.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from backprop_core import platform
from backprop_core.errors import InputError, StateError

SUBFOLDERS: Final = ("runs", "datasets", "uploads", "exports", "trash")
MAX_DEPTH: Final = 8
MAX_PATH_CHARS: Final = 240

_SEGMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_DEVICE: Final = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[1-9¹²³])(?:\..*)?\Z", re.IGNORECASE
)

_FORBIDDEN_TREES: Final = (
    ("/etc", "/usr", "/boot", "/proc", "/sys", "/dev")
    if sys.platform != "win32"
    else (r"C:\Windows", r"C:\Program Files", r"C:\Program Files (x86)")
)
_FORBIDDEN_IN_HOME: Final = (".ssh", ".aws", ".gnupg", ".kube", ".config/gcloud")
_PACKAGE: Final = Path(__file__).resolve().parent


def check_segment(segment: str) -> str:
    """Return `segment` when it is a safe file name on every system.

    Raises:
        InputError: INPUT_PATH_TRAVERSAL.
    """
    name = unicodedata.normalize("NFC", segment)
    if not _SEGMENT.match(name) or _DEVICE.match(name) or name.endswith((".", " ")):
        raise InputError("INPUT_PATH_TRAVERSAL", f"{segment[:60]!r} is no name for a file or folder here.")
    return name


def check_root(root: Path) -> None:
    """Refuse folders that must never hold what the web app writes.

    Raises:
        InputError: UI_OUTPUT_DIR_FORBIDDEN with the reason.
    """
    home = Path.home()
    shown = Path(os.path.abspath(root))  # noqa: PTH100 - the named folder counts as well as what it leads to
    for path in {shown, root.resolve()}:
        reason = _forbidden_reason(path, home)
        if reason:
            raise InputError(
                "UI_OUTPUT_DIR_FORBIDDEN", f"{root} cannot be the output folder: it is {reason}."
            )


def _forbidden_reason(path: Path, home: Path) -> str | None:
    if path == Path(path.anchor):
        return "the root of the file system"
    if path in {home, home.resolve()}:
        return "the home folder itself"
    for tree in (*map(Path, _FORBIDDEN_TREES), *(home / name for name in _FORBIDDEN_IN_HOME)):
        if path.is_relative_to(tree):
            return f"inside {tree}"
    if path.is_relative_to(_PACKAGE):
        return "inside the installed package"
    return None


class Sandbox:
    """A folder and the rules for what happens below it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Create the folder and its parts, and check that it is ours and can be written.

        Raises:
            InputError: UI_OUTPUT_DIR_FORBIDDEN.
            StateError: SANDBOX_NOT_WRITABLE.
        """
        check_root(self.root)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in SUBFOLDERS:
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
            probe = self.root / f".probe-{secrets.token_hex(4)}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StateError(
                "SANDBOX_NOT_WRITABLE", f"{self.root} cannot be written: {error.strerror}."
            ) from error
        self._check_owner()

    def path(self, *segments: str) -> Path:
        """Return the path of checked `segments`; nothing is opened and links are not followed yet."""
        names = [check_segment(segment) for segment in segments]
        path = self.root.joinpath(*names)
        if len(names) > MAX_DEPTH or len(str(Path(*names))) > MAX_PATH_CHARS:
            raise InputError("INPUT_PATH_TRAVERSAL", f"{path.name} lies too deep or has too long a path.")
        return path

    @contextlib.contextmanager
    def create(self, *segments: str) -> Iterator[IO[bytes]]:
        """Yield a new file that must not exist yet; it vanishes when the block raises.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL for an unsafe name, a link on the way, or an existing file.
        """
        path = self.path(*segments)
        with self._parent_handle(path) as (parent, name):
            try:
                fd = _open_below(parent, path, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileExistsError as error:
                raise InputError("INPUT_PATH_TRAVERSAL", f"{name} exists already.") from error
            try:
                with os.fdopen(fd, "wb") as stream:
                    yield stream
            except BaseException:
                os.unlink(name if parent is not None else path, dir_fd=parent)
                raise

    @contextlib.contextmanager
    def open(self, *segments: str) -> Iterator[IO[bytes]]:
        """Yield an existing regular file for reading, without following links.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL when it is a link, no regular file, or missing.
        """
        path = self.path(*segments)
        with self._parent_handle(path) as (parent, name):
            try:
                fd = _open_below(parent, path, name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            except OSError as error:
                raise InputError("INPUT_PATH_TRAVERSAL", f"{name} cannot be opened here.") from error
            with os.fdopen(fd, "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise InputError("INPUT_PATH_TRAVERSAL", f"{name} is no regular file.")
                yield stream

    def to_trash(self, *segments: str) -> Path:
        """Move a file or folder into the trash and return where it lies now."""
        path = self.path(*segments)
        target = self.root / "trash" / f"{path.name}.{secrets.token_hex(4)}"
        with self._parent_handle(path) as (parent, name):
            try:
                if parent is None:
                    path.rename(target)
                else:
                    os.rename(name, target, src_dir_fd=parent)
            except FileNotFoundError as error:
                raise InputError("INPUT_PATH_TRAVERSAL", f"{name} does not exist here.") from error
        return target

    @contextlib.contextmanager
    def _parent_handle(self, path: Path) -> Iterator[tuple[int | None, str]]:
        """Yield a handle of the folder of `path`, reached without following any link, and the name."""
        relative = path.relative_to(self.root)
        if platform.WINDOWS:  # pragma: no cover - exercised by the Windows job
            for parent in [self.root.joinpath(*relative.parts[:n]) for n in range(1, len(relative.parts))]:
                attributes = getattr(parent.lstat(), "st_file_attributes", 0)
                if attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT:
                    raise InputError("INPUT_PATH_TRAVERSAL", f"{parent.name} is a link.")
            yield None, path.name
            return
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in relative.parts[:-1]:
                try:
                    inner = os.open(
                        part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle
                    )
                except OSError as error:
                    raise InputError("INPUT_PATH_TRAVERSAL", f"{part} is a link or no folder.") from error
                os.close(handle)
                handle = inner
            yield handle, path.name
        finally:
            os.close(handle)

    def _check_owner(self) -> None:
        if platform.WINDOWS:  # pragma: no cover
            return
        facts = self.root.stat()
        if facts.st_uid != os.geteuid():
            raise StateError("SANDBOX_NOT_WRITABLE", f"{self.root} belongs to another user.")
        if facts.st_mode & 0o022:
            raise StateError(
                "SANDBOX_NOT_WRITABLE",
                f"Other users may write to {self.root}.",
                hint=f"Take the right away: chmod go-w {self.root}",
            )


def _open_below(parent: int | None, path: Path, name: str, flags: int) -> int:
    flags |= platform.NO_FOLLOW | getattr(os, "O_CLOEXEC", 0)
    if parent is None:  # pragma: no cover
        return os.open(path, flags, 0o600)
    return os.open(name, flags, 0o600, dir_fd=parent)
