"""Data work of a user on files of their own: rows looked at, new versions made beside the file.

For faces that run as the user. The web app reads and writes only its own folders; see `datasets` and
`data_changes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backprop_core import files
from backprop_core.datasets.operations import Convert, Operation
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.datasets.versions import Version, apply, next_version
from backprop_core.errors import InputError
from backprop_core.runs.store import check_output_folder
from backprop_core.services.data_changes import stem_of
from backprop_core.services.datasets import DataChoices, RowsPage, page_of
from backprop_core.services.facts import model_folder
from backprop_core.workspace import Workspace


def preview_rows(ws: Workspace, path: Path, choices: DataChoices, *, skip: int, count: int) -> RowsPage:
    """Return some rows of a file, with every token when the model is on this machine.

    Raises:
        InputError: the file cannot be read, or the name can be no model.
    """
    folder = model_folder(ws, choices.model)
    tokenizer = ChatTokenizer.load(folder) if folder is not None else None
    return page_of(path, tokenizer, choices, skip=skip, count=count)


def make_versions(
    ws: Workspace, source: Path, wanted: Sequence[tuple[Operation, Path | None]]
) -> list[Version]:
    """Run operations on a file and write each result with its recipe; the file is not changed.

    Args:
        wanted: operations with their new files, which must not exist; the next version beside the source
            where there is None.

    Raises:
        InputError: the source cannot be read, a target exists, or no row is left.
        StateError: SANDBOX_NOT_WRITABLE.
        DependencyError: DEP_EXTRA_MISSING.
        RunError: RUNTIME_DISK_FULL.
    """
    if not source.is_file():
        raise InputError(
            "INPUT_DATASET_NOT_FOUND", f"The data file {str(source)!r} does not exist or is no file."
        )
    _require_free_names([target for _, target in wanted if target is not None])
    return [_make(ws, operation, source, target or _next(source, operation)) for operation, target in wanted]


def _require_free_names(targets: Sequence[Path]) -> None:
    """Refuse before the first of several files is written."""
    for target in targets:
        if target.exists() or target.is_symlink() or targets.count(target) > 1:
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"{target} exists already, or is named twice; a version is never overwritten.",
                hint="Choose another name with `--output`, or leave it out for the next version.",
            )
        check_output_folder(target.parent)


def _next(source: Path, operation: Operation) -> Path:
    suffix = ".csv" if isinstance(operation, Convert) and operation.to == "csv" else ".jsonl"
    return next_version(Path(f"{stem_of(source)}.jsonl"), source.parent, suffix)


def _make(ws: Workspace, operation: Operation, source: Path, target: Path) -> Version:
    check_output_folder(target.parent)
    files.require_free(target.parent, source.stat().st_size, "The new version")
    target.parent.mkdir(parents=True, exist_ok=True)
    return apply(operation, source, target, now=ws.clock.now().astimezone())
