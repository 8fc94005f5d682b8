"""The work of a training run in the calling process, under its lock, told to hooks and terminal as it goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from backprop_core.errors import BackpropagateError
from backprop_core.events.types import Event
from backprop_core.runs.projection import RunState
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from backprop_core.workspace import Workspace
from backpropagate.callback import TrainingCallback
from backpropagate.inprocess import (
    Hooks,
    Narrator,
    ObservedJournal,
    graceful_interrupt,
    say,
    stop_request,
    whole_epochs,
)
from backpropagate.results import RunResult


def train_here(
    ws: Workspace, state: RunState, register: Callable[[], None], callback: TrainingCallback
) -> RunResult:
    """Make one attempt at a run and keep the index true to its journal.

    Args:
        state: the run as it stands before the attempt.
        register: puts the run into the index as this process's; called once its lock is held.
        callback: hooks that are called between the steps.

    Raises:
        BackpropagateError: why the attempt failed.
    """
    from backprop_core.engine.context import open_run
    from backprop_core.engine.execution import execute

    folder, run_id = RunFolder(Path(state.folder)), state.run_id
    request_stop = stop_request(folder, ws.clock)
    hooks = Hooks(callback, run_id, request_stop, epochs_told=whole_epochs(state.epoch))
    narrator = Narrator(state, ws.clock)

    def tell(event: Event) -> None:
        narrator.tell(event)
        hooks.tell(event)

    say(f"run_started run_id={run_id}")
    with open_run(folder.path, ws.home, clock=ws.clock) as context:
        register()
        try:
            with (
                ObservedJournal(folder.journal_path, ws.clock, tell) as journal,
                graceful_interrupt(request_stop),
            ):
                execute(dataclasses.replace(context, journal=journal))
        except BackpropagateError as error:
            hooks.fail(error)
            raise
        finally:
            state = runs.get_run(ws, run_id)
    result = RunResult.from_state(state)
    hooks.complete(result)
    return result
