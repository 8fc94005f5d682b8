"""Data as Python programs hand it over, made into a file that a run can name: path or rows."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core import files
from backprop_core.errors import InputError
from backprop_core.runs.store import check_output_folder

_NAME_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class DataFile:
    """The file that a run names as its data; `created` is what was made for it, outermost first."""

    path: Path
    created: tuple[Path, ...] = ()

    def discard(self) -> None:
        """Remove what was made for it; folders that hold something else by now stay."""
        for path in reversed(self.created):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()


def data_file(dataset: object, output_dir: Path) -> DataFile:
    """Return the file that holds `dataset`, written when it is given as rows.

    Args:
        dataset: a path, a list of rows, or a `datasets.Dataset`.
        output_dir: rows are written below its folder `data`, under a name made of their content.

    Raises:
        InputError: INPUT_DATASET_FORMAT_UNSUPPORTED for another type, INPUT_DATASET_PARSE_FAILED for
            a row that is no JSON object, INPUT_DATASET_INVALID for no rows,
            INPUT_OUTPUT_DIR_NOT_OURS when the output folder cannot be one.
    """
    if isinstance(dataset, str | Path):
        return DataFile(Path(dataset))
    data = _as_jsonl(_rows_of(dataset))
    name = f"rows-{hashlib.sha256(data).hexdigest()[:_NAME_DIGITS]}.jsonl"
    path = output_dir.expanduser().absolute() / "data" / name
    if path.exists():
        return DataFile(path)
    check_output_folder(path.parent)
    missing = [folder for folder in reversed(path.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, data)
    return DataFile(path, (*missing, path))


def _rows_of(dataset: object) -> Iterable[object]:
    if isinstance(dataset, list | tuple):
        return dataset
    # Whoever holds a Dataset has imported its library; nobody else pays for it.
    library = sys.modules.get("datasets")
    if library is not None and isinstance(dataset, library.Dataset):
        return list(dataset)
    raise InputError(
        "INPUT_DATASET_FORMAT_UNSUPPORTED",
        f"Data cannot be a {type(dataset).__name__}.",
        hint="Give a path, a list of rows, or a datasets.Dataset.",
    )


def _as_jsonl(rows: Iterable[object]) -> bytes:
    lines = [_line(number, row) for number, row in enumerate(rows, start=1)]
    if not lines:
        raise InputError("INPUT_DATASET_INVALID", "The data has no rows.")
    return b"\n".join(lines) + b"\n"


def _line(number: int, row: object) -> bytes:
    value: Any = dict(row) if isinstance(row, Mapping) else row
    if not isinstance(value, dict):
        raise InputError(
            "INPUT_DATASET_PARSE_FAILED",
            f"Row {number} is a {type(row).__name__}, not a mapping of names to values.",
        )
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InputError(
            "INPUT_DATASET_PARSE_FAILED", f"Row {number} holds a value that is no JSON: {error}."
        ) from error
