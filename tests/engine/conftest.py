"""A tiny model, a few planted facts, and one thread in fp32, so that results are exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backprop_core.engine import devices
from backprop_core.runs.store import RunFolder
from tests.support import attempts
from tests.support.models import tutorial_model_dir, write_tiny_llama


@pytest.fixture(scope="session")
def tutorial_model() -> Path:
    return tutorial_model_dir()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def in_fp32(monkeypatch) -> None:
    """Compute as on a processor without bf16."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: False)


@pytest.fixture
def rows(tmp_path) -> Path:
    return attempts.write_rows(tmp_path / "facts.jsonl")


@pytest.fixture
def train(tmp_path, own_home, tiny_model, rows, in_fp32):
    """Return a function that creates a run of the tiny model, makes an attempt and returns its folder."""

    def run(**spec: Any) -> RunFolder:
        folder = new(**spec)
        attempts.attempt(folder, own_home)
        return folder

    def new(publish_to: Path | None = None, **spec: Any) -> RunFolder:
        defaults: dict[str, Any] = {
            "model": str(tiny_model),
            "dataset": str(rows),
            "steps": 4,
            "lora_r": 4,
            "learning_rate": 1e-2,
            "max_seq_length": 128,
            "checkpoint_every": 1000,
        }
        return attempts.new_run(tmp_path, publish_to=publish_to, **defaults | spec)

    run.new = new  # type: ignore[attr-defined]
    return run
