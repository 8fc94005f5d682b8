"""The front door: three lines of Python, or the `backprop` command.

Importing it loads nothing heavy; each public name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from backprop_core.version import __version__

if TYPE_CHECKING:
    from backprop_core.config.settings import Settings
    from backprop_core.errors import (
        BackpropagateError,
        ConfigError,
        DependencyError,
        InputError,
        InternalError,
        RunError,
        StateError,
    )
    from backpropagate.callback import TrainingCallback
    from backpropagate.chatting import generate
    from backpropagate.exporting import (
        export_gguf,
        export_lora,
        export_merged,
        list_ollama_models,
        register_with_ollama,
        remove_ollama_model,
        write_model_card,
    )
    from backpropagate.installation import get_settings
    from backpropagate.pushing import push_to_hub
    from backpropagate.results import ExportResult, MultiRunResult, RunResult
    from backpropagate.trainer import Trainer

__all__ = [
    "BackpropagateError",
    "ConfigError",
    "DependencyError",
    "ExportResult",
    "InputError",
    "InternalError",
    "MultiRunResult",
    "RunError",
    "RunResult",
    "Settings",
    "StateError",
    "Trainer",
    "TrainingCallback",
    "__version__",
    "export_gguf",
    "export_lora",
    "export_merged",
    "generate",
    "get_settings",
    "list_ollama_models",
    "push_to_hub",
    "register_with_ollama",
    "remove_ollama_model",
    "write_model_card",
]

_HOMES: Final = {
    "Trainer": "backpropagate.trainer",
    "TrainingCallback": "backpropagate.callback",
    "MultiRunResult": "backpropagate.results",
    "RunResult": "backpropagate.results",
    "ExportResult": "backpropagate.results",
    "export_gguf": "backpropagate.exporting",
    "export_lora": "backpropagate.exporting",
    "export_merged": "backpropagate.exporting",
    "list_ollama_models": "backpropagate.exporting",
    "register_with_ollama": "backpropagate.exporting",
    "remove_ollama_model": "backpropagate.exporting",
    "write_model_card": "backpropagate.exporting",
    "push_to_hub": "backpropagate.pushing",
    "generate": "backpropagate.chatting",
    "get_settings": "backpropagate.installation",
    "Settings": "backprop_core.config.settings",
    "BackpropagateError": "backprop_core.errors",
    "ConfigError": "backprop_core.errors",
    "DependencyError": "backprop_core.errors",
    "InputError": "backprop_core.errors",
    "InternalError": "backprop_core.errors",
    "RunError": "backprop_core.errors",
    "StateError": "backprop_core.errors",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from the module where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
