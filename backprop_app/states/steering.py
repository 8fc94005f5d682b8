"""What a page asks of work that goes on: pause, continue, stop and resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from backprop_app.runtime import current
from backprop_app.states.shell import ShellState
from backprop_core.errors import BackpropagateError
from backprop_core.runs.projection import RunState as Projection
from backprop_core.services import runs
from backprop_core.workspace import Workspace

REQUESTS: Final[dict[str, Callable[[Workspace, str], Projection]]] = {
    "pause": runs.pause,
    "continue": runs.unpause,
    "stop": runs.stop,
    "resume": runs.resume,
}


async def steer(run_id: str, wish: str) -> Any:
    """Ask a run or campaign for one of REQUESTS; return the toast that says why not, None when it was heard."""
    try:
        await asyncio.to_thread(REQUESTS[wish], current().ws, run_id)
    except BackpropagateError as error:
        return ShellState.show_toast(error.message, error.hint, "danger")
    return None
