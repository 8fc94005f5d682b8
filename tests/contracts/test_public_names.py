"""What `from backpropagate import ...` offers, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import backpropagate

NAMES = [
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


def test_the_public_names_are_these():
    assert sorted(backpropagate.__all__) == NAMES
    assert dir(backpropagate) == NAMES


def test_every_public_name_can_be_fetched():
    assert [name for name in NAMES if getattr(backpropagate, name) is None] == []


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(backpropagate, "Trainr")


def test_the_callback_has_the_hooks_of_the_contract():
    hooks = [name for name in vars(backpropagate.TrainingCallback) if not name.startswith("_")]
    assert hooks == ["on_step", "on_epoch", "on_checkpoint", "on_complete", "on_error", "should_stop"]


def test_train_takes_data_counts_and_hooks():
    parameters = list(inspect.signature(backpropagate.Trainer.train).parameters)
    assert parameters == ["self", "dataset", "steps", "epochs", "samples", "callback", "resume_from"]


def test_importing_the_package_loads_neither_training_libraries_nor_pydantic():
    code = "import backpropagate, sys; print(sorted({'torch', 'transformers', 'pydantic', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
