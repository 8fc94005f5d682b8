"""Model folders of a few bytes, for tests that load nothing."""

from __future__ import annotations

import json
from pathlib import Path


def safetensors_bytes(values: int = 8) -> bytes:
    """Return a whole safetensors file with one bfloat16 tensor of zeros."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [values], "data_offsets": [0, 2 * values]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(2 * values)


def write_model_folder(path: Path, config: dict[str, object] | None = None) -> Path:
    """Write the smallest folder that counts as a loadable model and return it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config or {"model_type": "llama"}))
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(safetensors_bytes())
    return path


def write_shared_cache(shared_dir: Path, hub_id: str, commit: str = "abc123") -> Path:
    """Write a model the way Hugging Face tools cache it and return its snapshot folder."""
    repository = shared_dir / f"models--{hub_id.replace('/', '--')}"
    snapshot = write_model_folder(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return snapshot
