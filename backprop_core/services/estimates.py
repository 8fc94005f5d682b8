"""Forecasts memory for every face from a model's sizes; nothing is fetched and nothing is created."""

from __future__ import annotations

from collections.abc import Iterable

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.errors import DependencyError
from backprop_core.planning.estimate import MemoryEstimate, estimate_memory
from backprop_core.planning.problems import model_problems
from backprop_core.services.facts import Memo, gather_facts
from backprop_core.services.training import error_of, layers_of
from backprop_core.workspace import Workspace


def estimate(ws: Workspace, own: Iterable[Layer]) -> MemoryEstimate:
    """Return the memory that a fine-tune with the values of a face would need.

    Raises:
        InputError: a value is outside its range, or the model has none of the layers.
        DependencyError: DEP_MODEL_LOAD_FAILED, the model's sizes are not known on this machine.
    """
    spec = resolve_train(layers_of(ws, own)).spec.model_copy(update={"dataset": ""})
    facts, problems = gather_facts(ws, spec, Memo())
    if problems:
        raise error_of(problems[0])
    if facts.model.shape is None:
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"The sizes of {spec.model} are not known here: its config.json is not on this machine.",
            hint=f"`backprop models download {spec.model}` fetches it; a local folder works too.",
        )
    for problem in model_problems(spec, facts.model):
        if problem.field == "target_modules":
            raise error_of(problem)
    found = estimate_memory(spec, facts)
    assert found is not None, "a model of known shape with layers that learn has a forecast"
    return found
