"""The worker's end of the line to whoever asks: orders arrive through a thread, what is said leaves at once."""

from __future__ import annotations

import os
import queue
import sys
import threading
from typing import IO, Final

from pydantic import ValidationError

from backprop_core.config.chats import ORDERS, ChatSpec, Order, Told

GONE: Final = None


class Channel:
    """Orders and answers as JSON lines.

    Args:
        source: gives the spec first, then orders; its end is the end of the worker.
        target: takes what is said.

    Raises:
        ValidationError: the first line is no spec.
    """

    def __init__(self, source: IO[bytes], target: IO[bytes]) -> None:
        self.spec = ChatSpec.model_validate_json(source.readline())
        self._source = source
        self._target = target
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def say(self, told: Told) -> None:
        """Send a line; a reader that is gone is noticed by the end of its orders."""
        try:
            self._target.write(told.model_dump_json().encode() + b"\n")
            self._target.flush()
        except BrokenPipeError:
            self._orders.put(GONE)

    def next(self, wait_s: float) -> Order | None:
        """Return the next order; `GONE` when there is nobody left to order.

        Raises:
            queue.Empty: nothing came within `wait_s`.
        """
        return self._orders.get(timeout=wait_s) if wait_s > 0 else self._orders.get_nowait()

    def _listen(self) -> None:
        for line in self._source:
            try:
                self._orders.put(ORDERS.validate_json(line))
            except ValidationError:
                # Whoever wrote it waits for an answer that never comes and gives up at its deadline.
                continue
        self._orders.put(GONE)


def open_channel() -> Channel:
    """Return the channel over the process's own input and output.

    Libraries print to file descriptor 1 as they like; from now on that is the log.
    """
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return Channel(sys.stdin.buffer, target)
