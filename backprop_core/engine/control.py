"""What the user and the system want from a running attempt: stop, pause, continue, end now.

Reading costs one stat while nothing changes.
"""

from __future__ import annotations

import threading
from typing import Final, Literal

from backprop_core.runs.store import Request, RunFolder

Ending = Literal["stopped", "interrupted"]

_POLL_S: Final = 0.2


class AttemptEnded(BaseException):
    """The attempt was asked to end outside the training loop.

    Not an `Exception`, so that no library handles it on the way out.
    """

    def __init__(self, how: Ending, reason: str) -> None:
        super().__init__(reason)
        self.how: Ending = how
        self.reason = reason


class ControlWatch:
    """The newest wish in `control.json`, and the order of the system to end.

    Args:
        ordered: set by a signal handler when the system ends the process.
    """

    def __init__(self, folder: RunFolder, ordered: threading.Event) -> None:
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self._request: Request | None = None
        self.ordered = ordered

    @property
    def is_interrupted(self) -> bool:
        """Whether the system wants the process to end."""
        return self.ordered.is_set()

    def request(self) -> Request | None:
        """Return the newest wish of the user."""
        try:
            stat = self._folder.control_path.stat()
        except FileNotFoundError:
            self._seen, self._request = None, None
            return None
        mark = (stat.st_mtime_ns, stat.st_ino)
        if mark != self._seen:
            control = self._folder.control()
            self._seen, self._request = mark, control.request if control else None
        return self._request

    def is_unwanted(self) -> bool:
        """Return whether the attempt shall end: the user wants a stop, or the system an end."""
        return self.is_interrupted or self.request() == "stop"

    def check(self) -> None:
        """Raise when the attempt shall end.

        Raises:
            AttemptEnded: the user wants a stop, or the system an end.
        """
        if self.is_interrupted:
            raise AttemptEnded("interrupted", "the system ended the process")
        if self.request() == "stop":
            raise AttemptEnded("stopped", "the user stopped the run")

    def wait(self) -> None:
        """Wait a moment for the next wish; an order to end cuts it short."""
        self.ordered.wait(_POLL_S)
