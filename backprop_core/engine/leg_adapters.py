"""The adapters of a campaign on the disk: saved whole, read back exactly, merged beside the last good one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from backprop_core import files
from backprop_core.config.campaigns import MergeMode
from backprop_core.engine import slao
from backprop_core.engine.adapters import ADAPTER_FILE
from backprop_core.engine.artifacts import sync
from backprop_core.errors import RunError, StateError
from backprop_core.runs.placing import staging, swap_in
from backprop_core.runs.store import RUN_ID_FILE

FACTS_FILE: Final = "leg.json"


def save_own(model: Any, tokenizer: Any, target: Path, run_id: str, facts: Mapping[str, Any]) -> str:
    """Write the adapter of a leg, whole or not at all, and return the hash of its weights.

    Args:
        facts: what a later attempt must know of the leg besides the weights.
    """
    staged = staging(target)
    # Without the flag PEFT asks the hub for the base model's configuration.
    model.save_pretrained(staged, save_embedding_layers=False)
    tokenizer.save_pretrained(staged)
    (staged / "README.md").unlink(missing_ok=True)
    files.write_text(staged / RUN_ID_FILE, run_id + "\n", durable=False)
    sync(staged / ADAPTER_FILE)
    digest = files.sha256_of(staged / ADAPTER_FILE)
    files.write_json(staged / FACTS_FILE, {**facts, "sha256": digest})
    swap_in(staged, target)
    return digest


def read_facts(own: Path) -> dict[str, Any] | None:
    """Return the facts of a leg whose adapter stands whole; None when it must be learned again."""
    try:
        facts: dict[str, Any] = dict(files.read_json(own / FACTS_FILE))
        is_whole = files.sha256_of(own / ADAPTER_FILE) == facts["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if is_whole else None


def read_adapter(folder: Path, sha256: str) -> dict[str, Tensor]:
    """Return the weights of an adapter as they were written.

    Raises:
        StateError: STATE_SLAO_CHECKPOINT_INVALID, they are gone or other ones.
    """
    path = folder / ADAPTER_FILE
    try:
        if files.sha256_of(path) != sha256:
            raise StateError("STATE_SLAO_CHECKPOINT_INVALID", f"{path} was changed since it was merged.")
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StateError("STATE_SLAO_CHECKPOINT_INVALID", f"{path} is missing or damaged.") from error
    return weights


def put_into(model: Any, adapter: Mapping[str, Tensor]) -> None:
    """Put weights into the model's adapter; the base stays as it is."""
    set_peft_model_state_dict(model, dict(adapter))


def weights_of(model: Any) -> dict[str, Tensor]:
    """Return a copy of the adapter's weights by the names under which they are saved."""
    found = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def merge_into(
    target: Path, mode: MergeMode, merged: tuple[Path, str] | None, own: tuple[Path, str], number: int
) -> str:
    """Write the merge of a leg to `target`, whole or not at all, and return the hash of its weights.

    Every file of the leg's own adapter comes along, so that any program that reads adapters reads it.

    Args:
        merged: the campaign's adapter before the leg with the hash of its weights.
        own: the leg's adapter likewise.
        number: which merge this is, counting from 1.

    Raises:
        RunError: RUNTIME_SLAO_MERGE_FAILED, the merge is not finite or cannot be written; nothing changed.
        StateError: STATE_SLAO_CHECKPOINT_INVALID, one of the two was changed since it was written.
    """
    before = None if merged is None else read_adapter(*merged)
    result = slao.merge(mode, before, read_adapter(*own), number)
    staged = staging(target)
    try:
        for path in own[0].iterdir():
            if path.name not in {ADAPTER_FILE, FACTS_FILE}:
                shutil.copy2(path, staged / path.name)
        save_file(result, staged / ADAPTER_FILE, metadata={"format": "pt"})
        sync(staged / ADAPTER_FILE)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        raise RunError(
            "RUNTIME_SLAO_MERGE_FAILED", f"The merged adapter cannot be written: {error}."
        ) from error
    digest = files.sha256_of(staged / ADAPTER_FILE)
    swap_in(staged, target)
    return digest
