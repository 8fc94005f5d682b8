"""A call that may hang, kept away from whoever needs its result."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    """Runs one function in a thread of its own and waits for it only so long.

    While a call hangs, later calls return None at once; when it ends at last, its late result is
    dropped and the next call is a fresh one. The function must handle its own exceptions.
    """

    def __init__(self, function: Callable[[], T], *, timeout_s: float, name: str) -> None:
        self._function = function
        self._timeout_s = timeout_s
        self._name = name
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._is_running = False
        self._is_late = False

    @property
    def is_hanging(self) -> bool:
        """Whether the last call had not answered in time and has not answered since."""
        return self._is_late and self._results.empty()

    def __call__(self) -> T | None:
        """Return the result, or None when it does not come in time."""
        if self.is_hanging:
            return None
        if self._is_late:
            self._results.get()
            self._is_late = False
        if not self._is_running:
            self._start()
        self._requests.put(True)
        try:
            return self._results.get(timeout=self._timeout_s)
        except queue.Empty:
            self._is_late = True
            return None

    def close(self) -> None:
        """Let the thread end after the call that it is in; a later call starts a new one."""
        self._requests.put(False)
        self._is_running = False
        self._is_late = False

    def _start(self) -> None:
        # New queues, so that a closed thread that still hangs takes nothing from its successor.
        self._requests, self._results = queue.SimpleQueue(), queue.SimpleQueue()
        arguments = (self._requests, self._results)
        # A daemon: a call stuck in the driver must not keep the process from ending.
        threading.Thread(target=self._serve, args=arguments, name=self._name, daemon=True).start()
        self._is_running = True

    def _serve(self, requests: queue.SimpleQueue[bool], results: queue.SimpleQueue[T]) -> None:
        while requests.get():
            results.put(self._function())
