"""The result of a run: the adapter or model in its folder, and a copy where the user wants it.

Both are written beside their final name and swapped in by a rename; an older result is removed only
when it carries the mark of a run.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from backprop_core import files, platform
from backprop_core.engine.context import RunContext
from backprop_core.engine.methods import Learner
from backprop_core.runs.store import RUN_ID_FILE, check_publish_target


def save_result(context: RunContext, learner: Learner, tokenizer: Any) -> str:
    """Save what the run learned and publish it; return its path relative to the run.

    Raises:
        OSError: the disk refuses.
        InputError: the publish target holds files of others; the run's own copy is kept.
    """
    target = context.folder.path / learner.artifact
    staged = _staging(target)
    learner.save(staged)
    tokenizer.save_pretrained(staged)
    (staged / "README.md").unlink(missing_ok=True)
    files.write_text(staged / RUN_ID_FILE, context.info.run_id + "\n", durable=False)
    for path in staged.glob("*.safetensors"):
        _sync(path)
    _swap_in(staged, target)
    if context.info.publish_to is not None:
        publish(target, Path(context.info.publish_to))
    return target.name


def publish(source: Path, target: Path) -> None:
    """Put a copy of `source` in the place of `target`.

    Raises:
        InputError: INPUT_OUTPUT_DIR_NOT_OURS when `target` holds files that no run wrote.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    check_publish_target(target)
    staged = _staging(target)
    shutil.copytree(source, staged, dirs_exist_ok=True)
    _swap_in(staged, target)


def _staging(target: Path) -> Path:
    staged = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    staged.mkdir(mode=0o700)
    return staged


def _swap_in(staged: Path, target: Path) -> None:
    """Rename `staged` to `target`; what was there comes back when the rename fails."""
    if not target.exists():
        platform.replace(staged, target)
        platform.sync_directory(target.parent)
        return
    old = target.with_name(f"{target.name}.{secrets.token_hex(4)}.old.partial")
    platform.replace(target, old)
    try:
        platform.replace(staged, target)
    except OSError:
        platform.replace(old, target)
        raise
    platform.sync_directory(target.parent)
    shutil.rmtree(old)


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
