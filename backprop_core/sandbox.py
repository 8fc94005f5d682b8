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

    Plain ASCII only, so that no two spellings of one letter can name two files.

    Raises:
        InputError: INPUT_PATH_TRAVERSAL.
    """
    if not _SEGMENT.match(segment) or _DEVICE.match(segment) or segment.endswith("."):
        raise InputError("INPUT_PATH_TRAVERSAL", f"{segment[:60]!r} is no name for a file or folder here.")
    return segment


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
        """Create the folder and its parts, and check that they are ours and can be written.

        Raises:
            InputError: UI_OUTPUT_DIR_FORBIDDEN.
            StateError: SANDBOX_NOT_WRITABLE.
        """
        check_root(self.root)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in SUBFOLDERS:
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
                with platform.held_folder(self.root, (name,)) as (_, folder):
                    probe = folder / f".probe-{secrets.token_hex(4)}"
                    probe.touch(mode=0o600)
                    probe.unlink()
        except OSError as error:
            raise StateError(
                "SANDBOX_NOT_WRITABLE", f"{error.filename or self.root} cannot be written: {error.strerror}."
            ) from error
        self._check_owner()

    def path(self, *segments: str) -> Path:
        """Return the path of checked `segments`; nothing is opened and links are not followed yet."""
        names = [check_segment(segment) for segment in segments]
        if names and (len(names) > MAX_DEPTH or len("/".join(names)) > MAX_PATH_CHARS):
            raise InputError("INPUT_PATH_TRAVERSAL", f"{names[-1]} lies too deep or has too long a path.")
        return self.root.joinpath(*names)

    @contextlib.contextmanager
    def held(self, *segments: str) -> Iterator[Path]:
        """Yield a folder as a path for code that writes by path; it means this folder until the block ends.

        What is written through it lands in the folder that stood there when the block began, also when
        somebody replaces a folder on the way by a link meanwhile.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL for an unsafe name, a link on the way, or a missing folder.
        """
        with self._folder(*segments) as (_, folder):
            yield folder

    @contextlib.contextmanager
    def create(self, *segments: str) -> Iterator[IO[bytes]]:
        """Yield a new file that must not exist yet; it vanishes when the block raises.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL for an unsafe name, a link on the way, an existing file, or
                one whose name differs in capitals alone.
        """
        *parents, name = segments
        path = self.path(*segments)
        with self._folder(*parents) as (handle, folder):
            _require_no_twin(folder, name)
            try:
                fd = _open_below(handle, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileExistsError as error:
                raise InputError("INPUT_PATH_TRAVERSAL", f"{name} exists already.") from error
            try:
                with os.fdopen(fd, "wb") as stream:
                    yield stream
            except BaseException:
                os.unlink(name if handle is not None else path, dir_fd=handle)
                raise

    @contextlib.contextmanager
    def open(self, *segments: str) -> Iterator[IO[bytes]]:
        """Yield an existing regular file for reading, without following links.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL when it is a link, no regular file, or missing.
        """
        *parents, name = segments
        path = self.path(*segments)
        with self._folder(*parents) as (handle, _):
            try:
                fd = _open_below(handle, path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            except OSError as error:
                raise InputError("INPUT_PATH_TRAVERSAL", f"{name} cannot be opened here.") from error
        with os.fdopen(fd, "rb") as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InputError("INPUT_PATH_TRAVERSAL", f"{name} is no regular file.")
            yield stream

    def require_no_twin(self, *segments: str) -> None:
        """Refuse a name that differs from one beside it in capitals alone.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL.
        """
        with self._folder(*segments[:-1]) as (_, folder):
            _require_no_twin(folder, check_segment(segments[-1]))

    def make_folders(self, *segments: str) -> None:
        """Create a folder and those above it where they are missing; no link is followed."""
        self.path(*segments)
        for depth in range(1, len(segments) + 1):
            with self._folder(*segments[: depth - 1]) as (handle, folder):
                name = segments[depth - 1]
                _require_no_twin(folder, name)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name if handle is not None else folder / name, 0o700, dir_fd=handle)

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Rename a file or folder; what it is, a link too, stays as it is. Nothing is ever replaced.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL, the source is missing, the target exists, or a link is on
                the way to one of them.
        """
        for names in (source, target):
            self.path(*names)
        with (
            self._folder(*source[:-1]) as (source_handle, source_folder),
            self._folder(*target[:-1]) as (target_handle, target_folder),
        ):
            _require_no_twin(target_folder, target[-1])
            if os.path.lexists(target_folder / target[-1]):
                raise InputError("INPUT_PATH_TRAVERSAL", f"{target[-1]} exists already.")
            try:
                if source_handle is None:
                    (source_folder / source[-1]).rename(target_folder / target[-1])
                else:
                    os.rename(source[-1], target[-1], src_dir_fd=source_handle, dst_dir_fd=target_handle)
            except FileNotFoundError as error:
                raise InputError("INPUT_PATH_TRAVERSAL", f"{source[-1]} does not exist here.") from error

    def remove(self, *segments: str) -> None:
        """Remove a file or folder for good, by handles: links go, what they lead to stays.

        Raises:
            InputError: INPUT_PATH_TRAVERSAL, a link is on the way.
            OSError: what the system refuses; what is mounted inside stays.
        """
        self.path(*segments)
        with self._folder(*segments[:-1]) as (handle, folder):
            platform.remove_tree(handle, folder / segments[-1])

    @contextlib.contextmanager
    def _folder(self, *segments: str) -> Iterator[tuple[int | None, Path]]:
        self.path(*segments)
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(platform.held_folder(self.root, segments))
            except OSError as error:
                raise InputError(
                    "INPUT_PATH_TRAVERSAL", f"{'/'.join(segments)} is missing here, a link, or no folder."
                ) from error
            yield held

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


def _open_below(handle: int | None, path: Path, flags: int) -> int:
    flags |= platform.NO_FOLLOW | getattr(os, "O_CLOEXEC", 0)
    if handle is None:  # pragma: no cover - exercised by the Windows job
        return os.open(path, flags, 0o600)
    return os.open(path.name, flags, 0o600, dir_fd=handle)


def _require_no_twin(folder: Path, name: str) -> None:
    """Refuse a name that Windows and macOS take for that of another file: `Run` beside `run`."""
    folded = name.casefold()
    for other in (path.name for path in folder.iterdir()):
        if other != name and other.casefold() == folded:
            raise InputError(
                "INPUT_PATH_TRAVERSAL", f"{name} differs from {other} in capitals alone; choose another name."
            )
