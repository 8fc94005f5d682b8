"""What happens when a State handler meets a defect: the log gets the trace, the page a number to find it by."""

from __future__ import annotations

import logging
import secrets
from typing import Final

from reflex.event import EventSpec

from backprop_app.states.shell import ShellState

_LOG: Final = logging.getLogger(__name__)
_MAX_REPORT_CHARS: Final = 2000


def tell_page(exception: Exception) -> EventSpec | None:
    """Log `exception` and return the event that shows a toast; nothing of the error itself reaches the browser."""
    number = secrets.token_hex(3)
    _LOG.error("a handler of the page failed, number %s", number, exc_info=exception)
    shown: EventSpec = ShellState.show_toast(
        "The app met a defect", f"The run is not touched. The log has it as number {number}.", "danger"
    )
    return shown


def note_page_error(exception: Exception) -> None:
    """Log what a browser reports of its own failure: as one line, cut, without control characters."""
    _LOG.warning("a page failed in the browser: %r", str(exception)[:_MAX_REPORT_CHARS])
