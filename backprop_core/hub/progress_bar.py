"""The progress of huggingface_hub, which it reports only to tqdm classes, as a plain call."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any


def progress_bar(on_bytes: Callable[[int, int | None], None]) -> type[Any]:
    """Return a tqdm class that prints nothing and reports bytes to `on_bytes`.

    The library keeps one bar for bytes received and one for bytes written; the further one counts.
    Calls come from the library's threads, one at a time.
    """
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    guard = threading.Lock()
    furthest = 0

    class SilentBar(tqdm):  # type: ignore[misc]
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"file": io.StringIO(), "disable": False})

        def update(self, n: float | None = 1) -> bool | None:
            changed: bool | None = super().update(n)
            if self.unit == "B":
                self._report()
            return changed

        def display(self, *args: Any, **kwargs: Any) -> None:
            """Show nothing."""

        def _report(self) -> None:
            nonlocal furthest
            with guard:
                furthest = max(furthest, int(self.n))
                on_bytes(furthest, int(self.total) if self.total else None)

    return SilentBar
