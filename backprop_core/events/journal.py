"""The append-only journal of a run: one event per line, written by one process, read by many.

A line is written with a single call. A torn last line, left by a kill or a full disk, is ignored by
readers and removed by the next writer.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
from pydantic import ValidationError

from backprop_core import platform
from backprop_core.errors import RunError
from backprop_core.events.types import BODY_BY_TYPE, Body, Event, Metrics, TelemetrySampled
from backprop_core.ports import Clock, SystemClock
from backprop_core.redact import redact_value

_READ_BYTES: Final = 4 << 20
_TAIL_BYTES: Final = 64 << 10


class JournalWriter:
    """Appends events. The caller holds the lock of the run.

    Raises:
        RunError: RUNTIME_DISK_FULL when a line cannot be written whole; the journal stays valid.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._fd = platform.open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._size = _cut_torn_line(self._fd)
        last = _last_event_line(path)
        self._seq = last["seq"] if last else 0

    @property
    def is_writing(self) -> bool:
        """Whether an event is on its way to the disk; a signal handler must not raise then."""
        return self._lock.locked()

    def append(self, body: Body) -> Event:
        """Write `body` as the next event and return it; durable ones reach the disk first.

        Any thread may call: training and telemetry share a journal.
        """
        with self._lock:
            event = Event(self._seq + 1, self._clock.now(), self._clock.monotonic(), body)
            self._write(event)
            self._seq = event.seq
        return event

    def _write(self, event: Event) -> None:
        value = event.as_json()
        if not isinstance(event.body, Metrics | TelemetrySampled):
            value = redact_value(value)
        line = orjson.dumps(value) + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, "the line was cut")
            if event.body.durable:
                os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._size)
            if error.errno == errno.ENOSPC:
                raise RunError(
                    "RUNTIME_DISK_FULL", "The journal of the run cannot grow: the disk is full."
                ) from error
            raise
        self._size += len(line)

    def close(self) -> None:
        """Close the file; the events stay."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class JournalReader:
    """Follows a journal from an offset; each call returns only what is new."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def has_news(self) -> bool:
        """Return whether bytes were added since the last read; costs one stat."""
        try:
            return self.path.stat().st_size > self.offset
        except FileNotFoundError:
            return False

    def read_new(self) -> list[Event]:
        """Return the whole events after the offset and move it behind them."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(_READ_BYTES)
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self.offset += end
        return [event for line in data[:end].splitlines() if (event := parse_line(line)) is not None]

    def read_all(self) -> Iterator[Event]:
        """Yield every event from the offset to the end, in constant memory."""
        while events := self.read_new():
            yield from events


def parse_line(line: bytes) -> Event | None:
    """Return the event in `line`; None for damage and for types this version does not know."""
    try:
        value: dict[str, Any] = orjson.loads(line)
        cls = BODY_BY_TYPE[value["type"]]
        return Event(
            value["seq"], datetime.fromisoformat(value["ts"]), value["mono"], cls.model_validate(value)
        )
    except (ValueError, KeyError, TypeError, ValidationError):
        return None


def tail_events(path: Path, limit: int) -> list[Event]:
    """Return the newest `limit` events without reading the whole journal."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return []
    want = _TAIL_BYTES
    while True:
        start = max(0, size - want)
        with path.open("rb") as stream:
            stream.seek(start)
            lines = stream.read(size - start).splitlines()
        if start > 0:
            lines = lines[1:]
        if len(lines) >= limit or start == 0:
            break
        want *= 4
    return [event for line in lines[-limit:] if (event := parse_line(line)) is not None]


def _cut_torn_line(fd: int) -> int:
    """Truncate an unfinished last line and return the size of the journal."""
    size = os.fstat(fd).st_size
    position = size
    while position > 0:
        start = max(0, position - _TAIL_BYTES)
        os.lseek(fd, start, os.SEEK_SET)
        newline = os.read(fd, position - start).rfind(b"\n")
        if newline >= 0:
            whole = start + newline + 1
            if whole < size:
                os.ftruncate(fd, whole)
            return whole
        position = start
    os.ftruncate(fd, 0)
    return 0


def _last_event_line(path: Path) -> dict[str, Any] | None:
    """Return the newest line that carries a sequence number, whatever its type."""
    size = path.stat().st_size
    want = _TAIL_BYTES
    while size:
        start = max(0, size - want)
        with path.open("rb") as stream:
            stream.seek(start)
            lines = stream.read(size - start).splitlines()
        for line in reversed(lines if start == 0 else lines[1:]):
            try:
                value = orjson.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict) and isinstance(value.get("seq"), int):
                return value
        if start == 0:
            return None
        want *= 4
    return None
