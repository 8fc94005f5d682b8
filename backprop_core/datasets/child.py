"""A short-lived process that does what a foreign file could make endless, and can be killed.

Parent and child speak in frames: four bytes of length, then the bytes; an empty frame ends. The
child has no secrets in its environment, a limit on memory, and never outlives its parent's patience.
"""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

LENGTH: Final = struct.Struct(">I")
MAX_FRAME_BYTES: Final = 64 << 20
_MODULE: Final = "backprop_core.datasets.child_main"
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "VIRTUAL_ENV")
_WAITING_FRAMES: Final = 4
_CLOSE_S: Final = 2.0


class ChildFailed(Exception):
    """The child was killed, ran out of memory, or refused.

    Args:
        word: `slow`, `memory`, or the word that the child itself gave.
        sentence: what the child said.
    """

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.word = word
        self.sentence = sentence


class Child:
    """One child process.

    Args:
        job: what it does, a name in `child_main`.
        arguments: of the job.
        memory_bytes: what it may use beyond its start.
        environment: variables beyond the few that every program needs.
    """

    def __init__(
        self,
        job: str,
        arguments: Sequence[str],
        *,
        memory_bytes: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | dict(
            environment or {}
        )
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, job, str(memory_bytes), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            close_fds=True,
        )
        self._frames: queue.Queue[bytes | None] = queue.Queue(maxsize=_WAITING_FRAMES)
        self._is_closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, request: bytes, *, within_s: float) -> bytes:
        """Send one frame and return the frame that answers it.

        Raises:
            ChildFailed: no answer in time (the child is killed), or the child ended.
        """
        self.tell(request)
        return self._next(within_s)

    def tell(self, request: bytes) -> None:
        """Send one frame.

        Raises:
            ChildFailed: the child ended.
        """
        try:
            self._stdin.write(LENGTH.pack(len(request)) + request)
            self._stdin.flush()
        except OSError:
            raise self._failure() from None

    def output(self, *, silence_s: float) -> Iterator[bytes]:
        """Yield frames until the empty one.

        Raises:
            ChildFailed: nothing came for `silence_s` (the child is killed), or it ended too early.
        """
        while frame := self._next(silence_s):
            yield frame

    def close(self) -> None:
        """End the process and wait for it."""
        self._is_closing.set()
        self._process.kill()
        self._process.wait()
        self._drain()
        self._reader.join(_CLOSE_S)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    # Bytes for a child that is gone.
                    pass

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _next(self, within_s: float) -> bytes:
        try:
            frame = self._frames.get(timeout=within_s)
        except queue.Empty:
            self._process.kill()
            raise ChildFailed("slow", f"no answer within {within_s:g} seconds") from None
        if frame is None:
            raise self._failure()
        return frame

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        frame: bytes | None = b""
        while frame is not None and not self._is_closing.is_set():
            frame = read_frame(stream)
            self._frames.put(frame)

    def _drain(self) -> None:
        """Make room, so that the reading thread can see that it is over."""
        while self._reader.is_alive():
            try:
                self._frames.get(timeout=0.01)
            except queue.Empty:
                pass

    def _failure(self) -> ChildFailed:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        word, tab, sentence = (lines[-1] if lines else "").partition("\t")
        if not tab:
            # Killed by the kernel, or it could not even say what happened.
            return ChildFailed("memory", "it needed more memory than allowed")
        return ChildFailed(word, sentence)


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the next frame, or None when the other side is gone or breaks the rules."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    if size > MAX_FRAME_BYTES:
        return None
    frame = stream.read(size)
    return frame if len(frame) == size else None
