"""Evaluations for Python programs: the work is done in the calling process, with the journal of a job."""

from __future__ import annotations

from backprop_core.config.evaluations import Evaluation
from backprop_core.errors import RunError
from backprop_core.services import evaluations
from backprop_core.services.evaluations import EvalRequest
from backprop_core.services.opening import open_workspace
from backpropagate.inprocess import work_here


def evaluate_here(request: EvalRequest) -> Evaluation:
    """Evaluate in this process; Ctrl-C cancels it.

    Raises:
        BackpropagateError: what stands in the way, or why it failed or was cancelled.
    """
    ws = open_workspace()
    try:
        state = work_here(ws, evaluations.prepare(ws, request, face="python", is_detached=False))
        found = evaluations.result(ws, state.run_id)
    finally:
        ws.close()
    if found is None:
        raise RunError("RUNTIME_EVALUATION_FAILED", f"The evaluation {state.name} was cancelled.")
    return found
