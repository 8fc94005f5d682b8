"""The result of a run: the adapter or model in its folder, and a copy where the user wants it.

Both are written beside their final name and swapped in by a rename; an older result is removed only
when it carries the mark of a run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from backprop_core import files
from backprop_core.engine.context import RunContext
from backprop_core.engine.methods import Learner
from backprop_core.runs.placing import publish, staging, swap_in
from backprop_core.runs.store import RUN_ID_FILE


def save_result(context: RunContext, learner: Learner, tokenizer: Any) -> str:
    """Save what the run learned and publish it; return its path relative to the run.

    Raises:
        OSError: the disk refuses.
        InputError: the publish target holds files of others; the run's own copy is kept.
    """
    target = context.folder.path / learner.artifact
    staged = staging(target)
    learner.save(staged)
    tokenizer.save_pretrained(staged)
    (staged / "README.md").unlink(missing_ok=True)
    files.write_text(staged / RUN_ID_FILE, context.info.run_id + "\n", durable=False)
    for path in staged.glob("*.safetensors"):
        sync(path)
    swap_in(staged, target)
    if context.info.publish_to is not None:
        publish(target, Path(context.info.publish_to))
    return target.name


def sync(path: Path) -> None:
    """Flush a written file to the disk."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
