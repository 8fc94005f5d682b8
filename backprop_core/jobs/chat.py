"""The parent's side of a chat: a worker process that holds one model and answers over its input and output.

It never blocks whoever asks: orders leave through a thread, answers arrive in a callback. A worker that
dies, or falls silent for too long, ends every open reply with one coded error and is gone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from backprop_core import platform
from backprop_core.config.chats import (
    TOLD,
    CancelOrder,
    ChatSpec,
    Closing,
    Finished,
    Order,
    Piece,
    Ready,
    Refused,
    ReplyOrder,
    Told,
)
from backprop_core.errors import BackpropagateError, RunError, error_from_record
from backprop_core.jobs.launcher import worker_environment
from backprop_core.redact import redact

_MODULE: Final = "backprop_core.engine.chat"
_WATCH_S: Final = 0.25
_LOG_TAIL_BYTES: Final = 4000
_LOADED_BYTES_PER_S: Final = 30_000_000
_READ_BYTES_PER_S: Final = 20_000_000
_READ_CHARS_PER_S: Final = 20

Tell = Callable[[Told], None]


@dataclass(frozen=True, slots=True)
class ChatSetup:
    """How a worker is run.

    Attributes:
        command: of its process; the spec is the first line of its input.
        load_s: seconds until it must be ready, beyond those that the size of the model gives.
        silence_s: seconds without a word while a reply is due, beyond those that model and prompt give.
    """

    command: tuple[str, ...] = (sys.executable, "-P", "-m", _MODULE)
    load_s: float = 120
    silence_s: float = 60


class ChatWorker:
    """A process with one model in memory.

    Args:
        spec: what it holds.
        home: folder of the installation.
        setup: process and deadlines.
    """

    def __init__(self, spec: ChatSpec, home: Path, setup: ChatSetup = ChatSetup()) -> None:
        self.spec = spec
        self.ready: Ready | None = None
        self.used_at = time.monotonic()
        self._setup = setup
        self._lock = threading.Lock()
        self._open: dict[int, Tell] = {}
        self._size_bytes = _size_of(spec)
        self._limit_s = setup.load_s + self._size_bytes / _LOADED_BYTES_PER_S
        self._heard_at = time.monotonic()
        self._end: BackpropagateError | None = None
        self._is_closing = False
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        self._process = platform.spawn_piped(setup.command, env=_environment(home), log=self._log)
        self._orders.put(spec.model_dump_json().encode() + b"\n")
        self._threads = [
            threading.Thread(target=target, name=f"chat-{target.__name__}", daemon=True)
            for target in (self._write, self._read, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it takes orders."""
        return not self._is_closing and self._end is None

    @property
    def open_replies(self) -> int:
        """How many replies are due."""
        return len(self._open)

    def ask(self, order: ReplyOrder, tell: Tell) -> None:
        """Order a reply, also of a worker that still loads.

        Args:
            order: its id must be new.
            tell: called from another thread with each `Piece`, and once at the end with `Finished` or
                `Refused`; it must not block.

        Raises:
            RunError: RUNTIME_CHAT_FAILED, the worker has ended.
        """
        with self._lock:
            if not self.is_usable:
                raise self._end or RunError("RUNTIME_CHAT_FAILED", "The model was just put away.")
            if not self._open and self.ready is not None:
                self._heard_at = time.monotonic()
                self._limit_s = self._setup.silence_s + self._size_bytes / _READ_BYTES_PER_S
            if self.ready is not None:
                self._limit_s += sum(len(message.content) for message in order.messages) / _READ_CHARS_PER_S
            self._open[order.id] = tell
            self.used_at = time.monotonic()
        self._send(order)

    def cancel(self, reply_id: int) -> None:
        """Ask for the end of a reply; it is told as `Finished`."""
        self._send(CancelOrder(id=reply_id))

    def close(self) -> None:
        """End the process and free its memory; replies that are due are refused."""
        self._fail("The model was put away.")
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._log.close()

    def _send(self, order: Order) -> None:
        self._orders.put(order.model_dump_json().encode() + b"\n")

    def _write(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError):
            while (line := self._orders.get()) is not None:
                stream.write(line)
                stream.flush()
        with contextlib.suppress(OSError):
            stream.close()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        with stream:
            for line in stream:
                with contextlib.suppress(ValidationError):
                    self._take(TOLD.validate_json(line))
        self._process.wait()
        self._fail(self._how_it_ended())

    def _watch(self) -> None:
        """Kill a worker that gave no sign of life while something was due."""
        while self._end is None:
            is_due = self.ready is None or bool(self._open)
            silent_s = time.monotonic() - self._heard_at
            if is_due and silent_s > self._limit_s:
                what = "answer" if self.ready else "load the model"
                self._fail(f"The engine did not {what} within {self._limit_s:.0f} seconds and was ended.")
                return
            time.sleep(_WATCH_S)

    def _take(self, told: Told) -> None:
        with self._lock:
            self._heard_at = time.monotonic()
            if isinstance(told, Ready):
                self.ready = told
                self._limit_s = self._setup.silence_s + self._size_bytes / _READ_BYTES_PER_S
                return
            if isinstance(told, Closing):
                self._is_closing = True
                return
            if isinstance(told, Refused) and told.id is None:
                receivers = list(self._open.items())
                self._open.clear()
                self._end = error_from_record(told.error)
            else:
                assert isinstance(told, Piece | Finished | Refused)
                reply_id = told.id
                assert reply_id is not None
                is_last = not isinstance(told, Piece)
                tell = self._open.pop(reply_id, None) if is_last else self._open.get(reply_id)
                receivers = [(reply_id, tell)] if tell is not None else []
                self.used_at = time.monotonic()
        for reply_id, tell in receivers:
            tell(told.model_copy(update={"id": reply_id}))

    def _fail(self, sentence: str) -> None:
        """End the process and every reply that is due."""
        with self._lock:
            if self._end is None:
                self._end = RunError("RUNTIME_CHAT_FAILED", sentence)
            receivers = list(self._open.items())
            self._open.clear()
        self._orders.put(None)
        self._process.kill()
        for reply_id, tell in receivers:
            tell(Refused(id=reply_id, error=self._end.record()))

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
        tail = self._log.read()
        lines = [line.strip() for line in tail.decode(errors="replace").splitlines() if line.strip()]
        told = [
            line for line in lines if "error" in line.lower() or "what()" in line or "assert" in line.lower()
        ]
        last = redact((told or lines or [""])[-1][:200])
        return f"The engine ended {how}" + (f": {last}" if last else ".")


def _environment(home: Path) -> Mapping[str, str]:
    return worker_environment(os.environ) | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BACKPROPAGATE_HOME": str(home),
    }


def _size_of(spec: ChatSpec) -> int:
    """Return the bytes that must be read before the model is in memory; 0 for what is not there."""
    path = Path(spec.model)
    parts = [path] if path.is_file() else list(path.glob("*.safetensors"))
    return sum(part.stat().st_size for part in parts)
