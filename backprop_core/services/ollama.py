"""What every face may ask of the Ollama server of this machine, or the one that OLLAMA_HOST names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core.errors import BackpropagateError
from backprop_core.ollama import OllamaClient, OllamaModel, Registration, ollama_url, require_name
from backprop_core.ollama.client import Progress, Timeouts
from backprop_core.shipping import register_export

_GLANCE: Final = Timeouts(connect_s=1, answer_s=2, work_s=2)


@dataclass(frozen=True, slots=True)
class OllamaStatus:
    """Whether a server answers.

    Attributes:
        version: of the server; empty when none answers.
        problem: why none answers, one sentence; empty when one does.
    """

    url: str
    version: str
    problem: str

    @property
    def is_running(self) -> bool:
        """Whether a server answers."""
        return not self.problem


def status() -> OllamaStatus:
    """Look for the server, at most a few seconds.

    Raises:
        ConfigError: OLLAMA_HOST is no address.
    """
    url = ollama_url()
    try:
        with OllamaClient(url, timeouts=_GLANCE) as client:
            return OllamaStatus(url, client.version(), "")
    except BackpropagateError as error:
        return OllamaStatus(url, "", error.message)


def list_models() -> list[OllamaModel]:
    """Return the models that the server holds, by name.

    Raises:
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED, the server does not answer.
    """
    with OllamaClient() as client:
        return sorted(client.list_models(), key=lambda model: model.name)


def register(path: Path, name: str, *, progress: Progress | None = None, force: bool = False) -> Registration:
    """Register an export with the server and hear it answer; see `shipping.register_export`."""
    return register_export(path.expanduser().absolute(), require_name(name), progress=progress, force=force)


def remove(name: str) -> None:
    """Remove a model from the server; exported files stay.

    Raises:
        InputError: this can be no model's name.
        DependencyError: DEP_OLLAMA_REGISTRATION_FAILED, the server refuses or does not answer.
    """
    require_name(name)
    with OllamaClient() as client:
        client.remove(name)
