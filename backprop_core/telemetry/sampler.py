"""The machine's figures once a second, the last ten minutes kept.

One thread reads the host; the card is read beside it under a time limit, so that a driver that
hangs costs its own figures and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from backprop_core.telemetry.bounded import Bounded
from backprop_core.telemetry.gpu import NO_ANSWER, GpuReader, GpuSample
from backprop_core.telemetry.host import HostReader, HostSample

INTERVAL_S: Final = 1.0
KEPT: Final = 600
_GPU_TIMEOUT_S: Final = 0.5
_STOP_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Card and host at one moment.

    Attributes:
        seq: counts from 1 without a gap.
        ts: wall time with zone, for people.
        mono: monotonic seconds, for distances.
    """

    seq: int
    ts: datetime
    mono: float
    gpu: GpuSample
    host: HostSample


class Sampler:
    """Takes a sample per second in a thread of its own."""

    def __init__(
        self,
        read_gpu: Callable[[], GpuSample] | None = None,
        read_host: Callable[[], HostSample] | None = None,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        gpu_timeout_s: float = _GPU_TIMEOUT_S,
    ) -> None:
        """Take the two readers and the clocks; nothing is read before `start` or `take`."""
        self._read_gpu = Bounded(
            GpuReader().read if read_gpu is None else read_gpu, timeout_s=gpu_timeout_s, name="gpu-reader"
        )
        self._read_host = HostReader().read if read_host is None else read_host
        self._interval_s = interval_s
        self._clock = clock
        self._now = now
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._seq = 0

    def start(self) -> None:
        """Begin to sample; harmless when it has begun."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; harmless when it does not run."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT_S)
            self._thread = None
        self._read_gpu.close()

    def take(self) -> Sample:
        """Read card and host now, keep the sample and return it."""
        gpu = self._read_gpu()
        if gpu is None:
            gpu = GpuSample(problem=NO_ANSWER)
        host = self._read_host()
        with self._lock:
            self._seq += 1
            sample = Sample(self._seq, self._now(), self._clock(), gpu, host)
            self._kept.append(sample)
        return sample

    def latest(self) -> Sample | None:
        """Return the newest sample; None before the first."""
        with self._lock:
            return self._kept[-1] if self._kept else None

    def since(self, seq: int) -> list[Sample]:
        """Return the kept samples newer than `seq`, oldest first; 0 gives all of them."""
        with self._lock:
            newer = min(len(self._kept), max(0, self._seq - seq))
            return list(self._kept)[len(self._kept) - newer :]

    def _run(self) -> None:
        due = self._clock()
        while not self._stopping.is_set():
            self.take()
            # After a stall, for example a laptop that slept, missed seconds are not made up.
            due = max(due + self._interval_s, self._clock())
            self._stopping.wait(due - self._clock())
