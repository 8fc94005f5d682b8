"""Every difference between Linux, Windows and macOS that the product meets.

Locks, process groups, replacing files, opening without following links. No other file
asks for the name of the operating system.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Literal

WINDOWS: Final = sys.platform == "win32"
MACOS: Final = sys.platform == "darwin"
SYSTEM: Final[Literal["linux", "windows", "macos"]] = "windows" if WINDOWS else "macos" if MACOS else "linux"

_LOCK_POLL_S: Final = 0.02
_REPLACE_TRIES: Final = 40
_HELPER_END_S: Final = 5.0
_REPLACE_WAIT_S: Final = 0.05


class FileLock:
    """An exclusive kernel lock on a file, held until `release` or the death of the process.

    The file stays on disk; its content (the holder's pid) is a hint for messages, never a proof.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self, wait_s: float = 0.0) -> bool:
        """Try to take the lock for up to `wait_s` seconds; return whether it is held now.

        Somebody who only looks whether a lock is free holds it for an instant; who must have it waits
        a little.

        Raises:
            OSError: the file system refuses locks or the file cannot be opened.
        """
        if self._fd is not None:
            return True
        fd = open_own(self.path, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + wait_s
        try:
            while not (taken := _try_lock(fd)) and time.monotonic() < deadline:
                time.sleep(_LOCK_POLL_S)
        except OSError:
            os.close(fd)
            raise
        if not taken:
            os.close(fd)
            return False
        self._fd = fd
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, str(os.getpid()).encode())
        return True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder_pid(self) -> int | None:
        """Return the pid written by the last holder, for messages only."""
        try:
            return int(self.path.read_text() or "0") or None
        except (OSError, ValueError):
            return None


def open_own(path: Path, flags: int) -> int:
    """Open a file for writing in place: no link is followed, and the file has no second name.

    A second name may lie anywhere on the disk, so that what is written here would be written there.

    Raises:
        OSError: ELOOP for a link, EMLINK for a file with a second name, EINVAL for what is no file.
    """
    fd = os.open(path, flags | _NO_INHERIT | NO_FOLLOW, 0o600)
    facts = os.fstat(fd)
    reason = errno.EMLINK if facts.st_nlink > 1 else errno.EINVAL
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(fd)
        raise OSError(reason, os.strerror(reason), str(path))
    return fd


def lock_is_free(path: Path) -> bool:
    """Return whether nobody holds the lock at `path`; a missing file is free."""
    try:
        fd = os.open(path, os.O_RDWR | _NO_INHERIT | NO_FOLLOW)
    except FileNotFoundError:
        return True
    try:
        return _try_lock(fd)
    finally:
        os.close(fd)


if sys.platform == "win32":  # pragma: no cover - exercised by the Windows job
    import ctypes
    import msvcrt

    _ES_CONTINUOUS, _ES_SYSTEM_REQUIRED = 0x80000000, 0x00000001

    # By their whole path: a bare name is first looked for in the current folder.
    _SYSTEM32: Final = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
    _POWERSHELL: Final = _SYSTEM32 / "WindowsPowerShell" / "v1.0" / "powershell.exe"

    NO_FOLLOW = 0
    _NO_INHERIT = os.O_NOINHERIT | os.O_BINARY
    # A byte far behind the pid text, so that others can still read the pid.
    _LOCK_OFFSET: Final = 1 << 30

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _LOCK_OFFSET, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return True

    def _session_arguments() -> dict[str, int | bool]:
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
        return {"creationflags": flags | subprocess.CREATE_BREAKAWAY_FROM_JOB}

    def signal_group(pid: int, *, force: bool) -> None:
        """Ask the process tree of `pid` to end, or end it."""
        arguments = [str(_SYSTEM32 / "taskkill.exe"), "/T", "/PID", str(pid)] + (["/F"] if force else [])
        subprocess.run(arguments, check=False, capture_output=True)

    def process_start_token(pid: int) -> str | None:
        """Return a value that differs when `pid` was given to another process."""
        query = f"(Get-Process -Id {int(pid)}).StartTime.Ticks"
        done = subprocess.run(
            [str(_POWERSHELL), "-NoProfile", "-Command", query], check=False, capture_output=True, text=True
        )
        return done.stdout.strip() or None

    def sync_directory(path: Path) -> None:
        """Do nothing: Windows writes directory entries through."""

    def process_memory_bytes() -> int:
        """Return the resident memory of this process."""
        counters = (ctypes.c_size_t * 10)()
        ctypes.windll.kernel32.K32GetProcessMemoryInfo(
            ctypes.c_void_p(-1), ctypes.byref(counters), ctypes.sizeof(counters)
        )
        # PROCESS_MEMORY_COUNTERS: two 32-bit fields, the peak, then the working set.
        return int(counters[2])

    def system_memory() -> tuple[int, int]:
        """Return the available and the total memory of the machine in bytes."""
        status = (ctypes.c_uint64 * 8)()
        # MEMORYSTATUSEX: its own size and the load as 32-bit fields, then total and available.
        status[0] = ctypes.sizeof(status)
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status[2]), int(status[1])

    _FOLDER_ACCESS: Final = 0x80  # FILE_READ_ATTRIBUTES
    _SHARE_READ_WRITE: Final = 0x1 | 0x2
    _OPEN_EXISTING: Final = 3
    _FOLDER_FLAGS: Final = 0x02000000 | 0x00200000  # BACKUP_SEMANTICS | OPEN_REPARSE_POINT

    @contextlib.contextmanager
    def held_folder(root: Path, parts: Sequence[str]) -> Iterator[tuple[int | None, Path]]:
        """Yield no handle and the path of a folder that nobody can move or replace meanwhile.

        Each folder on the way is held open without the right to delete it, links not followed.

        Raises:
            OSError: a folder is missing, a link or a junction, or no folder.
        """
        with contextlib.ExitStack() as held:
            for depth in range(len(parts) + 1):
                held.callback(ctypes.windll.kernel32.CloseHandle, _hold(root.joinpath(*parts[:depth])))
            yield None, root.joinpath(*parts)

    def _hold(path: Path) -> ctypes.c_void_p:
        open_file = ctypes.windll.kernel32.CreateFileW
        open_file.restype = ctypes.c_void_p
        handle = open_file(
            str(path), _FOLDER_ACCESS, _SHARE_READ_WRITE, None, _OPEN_EXISTING, _FOLDER_FLAGS, None
        )
        if handle == ctypes.c_void_p(-1).value:
            raise ctypes.WinError()
        attributes = path.lstat().st_file_attributes
        if attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT or not attributes & stat.FILE_ATTRIBUTE_DIRECTORY:
            ctypes.windll.kernel32.CloseHandle(ctypes.c_void_p(handle))
            raise NotADirectoryError(errno.ENOTDIR, "a link or no folder", str(path))
        return ctypes.c_void_p(handle)

    def remove_tree(folder: int | None, path: Path) -> None:
        """Remove a file or a folder with everything in it; links and junctions go, not what they lead to."""
        if path.is_dir() and not path.is_symlink() and not _is_reparse_point(path):
            for inner in path.iterdir():
                remove_tree(folder, inner)
            path.rmdir()
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink()

    def _is_reparse_point(path: Path) -> bool:
        return bool(path.lstat().st_file_attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)

    def free_pid_is_alive(pid: int) -> bool:
        """Return whether a process with this pid exists."""
        return process_start_token(pid) is not None

else:
    import fcntl
    import resource

    NO_FOLLOW = os.O_NOFOLLOW
    _NO_INHERIT = os.O_CLOEXEC

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _session_arguments() -> dict[str, int | bool]:
        return {"start_new_session": True}

    def signal_group(pid: int, *, force: bool) -> None:
        """Send SIGTERM, or SIGKILL when `force`, to the process group of `pid`."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL if force else signal.SIGTERM)

    def process_start_token(pid: int) -> str | None:
        """Return a value that differs when `pid` was given to another process.

        Linux: start time in clock ticks since boot (field 22 of /proc/PID/stat) and the boot id.
        macOS: the start time that ps prints.
        """
        if MACOS:  # pragma: no cover
            done = subprocess.run(
                ["/bin/ps", "-o", "lstart=", "-p", str(pid)], check=False, capture_output=True, text=True
            )
            return done.stdout.strip() or None
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[0] == "Z":
            return None
        return f"{fields[19]}@{boot}"

    def sync_directory(path: Path) -> None:
        """Flush the entries of a directory, so that a rename survives a power loss."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    _FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

    @contextlib.contextmanager
    def held_folder(root: Path, parts: Sequence[str]) -> Iterator[tuple[int | None, Path]]:
        """Yield a handle of the folder `parts` below `root`, and a path that means this very folder.

        No link is followed below `root`. On Linux the path goes through the handle, so that it stays
        true when somebody moves or replaces a folder on the way; macOS knows no such path.

        Raises:
            OSError: a folder is missing, a link, or no folder.
        """
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                inner = os.open(part, _FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle, root.joinpath(*parts) if MACOS else Path(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)

    def remove_tree(folder: int | None, path: Path) -> None:
        """Remove a file or a folder with everything in it, by handles.

        Links go, not what they lead to. What is mounted inside stays, and so do the folders above it.

        Args:
            folder: handle of the folder that holds it.
            path: its name is what is removed.

        Raises:
            OSError: EXDEV for a mounted disk inside, or what the system refuses.
        """
        assert folder is not None
        _remove(folder, path.name, _device(os.fstat(folder)))

    def _device(facts: os.stat_result) -> int:
        return facts.st_dev

    def _remove(folder: int, name: str, device: int) -> None:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode):
            os.unlink(name, dir_fd=folder)
            return
        handle = os.open(name, _FOLDER, dir_fd=folder)
        try:
            if _device(os.fstat(handle)) != device:
                raise OSError(errno.EXDEV, "another disk is mounted there", name)
            with os.scandir(handle) as entries:
                names = [entry.name for entry in entries]
            for inner in names:
                _remove(handle, inner, device)
        finally:
            os.close(handle)
        os.rmdir(name, dir_fd=folder)

    def process_memory_bytes() -> int:
        """Return the resident memory of this process; on macOS the peak of it."""
        if MACOS:  # pragma: no cover
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def system_memory() -> tuple[int, int]:
        """Return the available and the total memory in bytes; the limit of a container counts."""
        if MACOS:  # pragma: no cover
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            return total, total
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        figures = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines}
        available, total = figures["MemAvailable"], figures["MemTotal"]
        try:
            limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        except (OSError, ValueError):
            return available, total
        return min(available, max(0, limit - used)), min(total, limit)


def replace(source: Path, target: Path) -> None:
    """Rename `source` over `target` atomically.

    Windows refuses while a virus scanner or reader holds the target; those refusals are retried
    for two seconds.
    """
    for attempt in range(_REPLACE_TRIES):
        try:
            source.replace(target)
        except PermissionError:
            if not WINDOWS or attempt == _REPLACE_TRIES - 1:
                raise
            time.sleep(_REPLACE_WAIT_S)
        else:
            return


_detached: list[subprocess.Popen[bytes]] = []


def spawn_detached(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a process that outlives its parent: own session, no input, output to a file."""
    process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
        list(arguments),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        close_fds=True,
        **_session_arguments(),
    )
    # Python complains about a forgotten child that still runs, and asking the others reaps them.
    _detached[:] = [process, *(other for other in _detached if other.poll() is None)]
    return process


def spawn_piped(
    arguments: Sequence[str], *, env: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a process that talks over its input and output; Ctrl-C in a terminal does not reach it."""
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        list(arguments),
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        close_fds=True,
        **_session_arguments(),
    )


def find_program(name: str) -> str | None:
    """Return the whole path of a program on PATH; None when it is not there, or in the current folder.

    A program of that name where somebody happens to stand is not the user's tool.
    """
    found = shutil.which(name)
    if found is None or not Path(found).is_absolute() or Path(found).parent == Path.cwd():
        return None
    return found


@contextlib.contextmanager
def keep_awake() -> Iterator[None]:
    """Ask the system not to sleep while the block runs, where it offers that; failure is harmless."""
    if sys.platform == "win32":  # pragma: no cover - exercised by the Windows job
        ctypes.windll.kernel32.SetThreadExecutionState(_ES_CONTINUOUS | _ES_SYSTEM_REQUIRED)
        try:
            yield
        finally:
            ctypes.windll.kernel32.SetThreadExecutionState(_ES_CONTINUOUS)
        return
    command = (
        ["caffeinate", "-i"] if MACOS else ["systemd-inhibit", "--what=idle:sleep", "--who=Backpropagate"]
    )
    program = find_program(command[0])
    if program is None:
        yield
        return
    # The helper waits for the end of its input, so that it ends with this process, however that ends.
    helper = subprocess.Popen(
        [program, *command[1:], "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            helper.communicate(timeout=_HELPER_END_S)


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Create files for the user only while the block runs; Windows inherits folder rights."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def user_name() -> str:
    """Return who runs this process; the number when the system has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def utf8_console() -> None:
    """Make standard output and error speak UTF-8, which Windows consoles do not by default."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if WINDOWS and reconfigure is not None:  # pragma: no cover
            reconfigure(encoding="utf-8", errors="replace")
