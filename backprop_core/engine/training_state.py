"""The whole state of a training loop as plain tensors and JSON, and back again, bit by bit.

Never pickles: a checkpoint may come from elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file

from backprop_core import files
from backprop_core.engine.cutting import Cut
from backprop_core.planning.records import Choices

_WEIGHTS: Final = "weights.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_RANDOM: Final = "random.safetensors"
_STATE: Final = "state.json"


class LoopState(BaseModel):
    """The part of the state that is no tensor.

    Attributes:
        choices: the derived values that the first attempt worked with.
        cut: how steps are cut since memory last ran out.
        plateau_loss, diverging: see `stop_rules.Trend`.
        loss_scale: by which gradients of fp16 are computed larger.
        groups: the optimizer's groups without their parameters.
        python_random, numpy_random: states of these generators.
    """

    model_config = ConfigDict(frozen=True)

    step: int
    tokens: int
    supervised_tokens: int
    best_loss: float | None
    best_step: int
    not_better: int
    plateau_loss: float | None = None
    diverging: int = 0
    choices: dict[str, Any]
    cut: Cut
    loss_scale: float
    scheduler: dict[str, Any]
    groups: list[dict[str, Any]]
    scalars: dict[str, float | int | bool | None]
    python_random: list[Any]
    numpy_random: list[Any]
    versions: dict[str, str]

    def chosen(self) -> Choices:
        """Return the derived values as the recipe takes them."""
        return Choices(**self.choices)


def trained_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the trained parameters of `model` by name."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def save_weights(model: torch.nn.Module, folder: Path) -> None:
    """Write the trained parameters."""
    _save(trained_tensors(model), folder / _WEIGHTS)


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Put the parameters of a checkpoint into `model`.

    Raises:
        KeyError: the checkpoint holds other parameters than the model trains.
    """
    stored = load_file(folder / _WEIGHTS)
    trained = trained_tensors(model)
    if stored.keys() != trained.keys():
        raise KeyError(sorted(stored.keys() ^ trained.keys())[0])
    for name, value in trained.items():
        value.copy_(stored[name])


def save_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> dict[str, Any]:
    """Write the tensors of the optimizer; return its groups and scalars for `LoopState`."""
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for index, entry in state["state"].items():
        for key, value in entry.items():
            name = f"{index}.{key}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            else:
                scalars[name] = value
    _save(tensors, folder / _OPTIMIZER)
    return {"groups": state["param_groups"], "scalars": scalars}


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path, loop: LoopState) -> None:
    """Put the optimizer's state of a checkpoint into `optimizer`."""
    entries: dict[int, dict[str, Any]] = {}
    named: list[Mapping[str, Any]] = [load_file(folder / _OPTIMIZER), loop.scalars]
    for values in named:
        for name, value in values.items():
            index, _, key = name.partition(".")
            entries.setdefault(int(index), {})[key] = value
    groups = [
        {key: tuple(value) if key == "betas" else value for key, value in group.items()}
        for group in loop.groups
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def save_random(folder: Path) -> dict[str, Any]:
    """Write the states of torch's generators; return those of Python and numpy for `LoopState`."""
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    _save(tensors, folder / _RANDOM)
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=True)
    kind, keys, *rest = numpy_state
    return {"python_random": [version, list(words), gauss], "numpy_random": [kind, keys.tolist(), *rest]}


def load_random(folder: Path, loop: LoopState) -> None:
    """Put every generator where it was when the checkpoint was written."""
    tensors = load_file(folder / _RANDOM)
    torch.set_rng_state(tensors.pop("cpu"))
    if torch.cuda.is_available():
        for name, state in tensors.items():
            torch.cuda.set_rng_state(state, int(name.partition(".")[2]))
    version, words, gauss = loop.python_random
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = loop.numpy_random
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))


def save_loop(loop: LoopState, folder: Path) -> None:
    """Write the part of the state that is no tensor."""
    files.write_json(folder / _STATE, loop.model_dump(), durable=False)


def load_loop(folder: Path) -> LoopState:
    """Read the part of the state that is no tensor.

    Raises:
        ValueError: it is not what this version writes.
    """
    return LoopState.model_validate(files.read_json(folder / _STATE))


def _save(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
