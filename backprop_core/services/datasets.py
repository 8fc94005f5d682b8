"""Data files as the Dataset page shows them: the list, pages of rows, every token of a row, figures, report.

Reads only below the folders that `check_readable` allows; `data_changes` writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from backprop_core.datasets.convert import convert
from backprop_core.datasets.detect import Detection, detect
from backprop_core.datasets.preview import ShownRow, preview, show
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.report import DatasetSummary, StructureSummary, inspect_structure, summarize
from backprop_core.datasets.review import DataReview, Histogram, histogram, review
from backprop_core.datasets.rows import Conversation, RawRow, RowProblem
from backprop_core.datasets.scan import ScanChoices, scan_file
from backprop_core.datasets.shown_turns import ShownTurn, shown_turns
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.errors import BackpropagateError
from backprop_core.hub.names import understand
from backprop_core.services.data_files import check_readable, examples_dir, list_data_files
from backprop_core.services.facts import Memo, file_version, model_folder
from backprop_core.workspace import Workspace

PAGE_ROWS: Final = 10
SAMPLE_ROWS: Final = 2000

_LISTED: Final = 500
_DETECTED_ROWS: Final = 200
# Up to this size a file is counted while the list is made; larger ones when they are opened.
_COUNTED_BYTES: Final = 1 << 20

Place = Literal["example", "yours", "data folder"]


@dataclass(frozen=True, slots=True)
class DataChoices:
    """What decides over tokens and mask, as the Train page chose it."""

    model: str
    max_seq_length: int = 2048
    train_on_responses: bool = True


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One data file of the list.

    Attributes:
        layout: format of its rows; empty when nobody has looked yet.
        rows: None when nobody has counted yet.
        problem: why it cannot be used.
    """

    path: Path
    place: Place
    size_bytes: int
    layout: str = ""
    rows: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RowsPage:
    """Neighbouring rows of a file.

    Attributes:
        has_tokens: whether the model is here, so that tokens are shown.
    """

    detection: Detection
    rows: tuple[ShownRow, ...]
    has_more: bool
    has_tokens: bool


@dataclass(frozen=True, slots=True)
class FileFigures:
    """What one pass over a file found.

    Attributes:
        facts: every row checked; with tokens of the first rows when the model is here.
        histogram: tokens per row of those; None without the model.
    """

    facts: StructureSummary | DatasetSummary
    histogram: Histogram | None = None

    @property
    def tokens(self) -> DatasetSummary | None:
        """The figures with tokens, when the model is here."""
        return self.facts if isinstance(self.facts, DatasetSummary) else None


def list_entries(ws: Workspace, memo: Memo) -> list[FileEntry]:
    """Return the data files of the page; small ones are counted, large ones when they were opened."""
    return [_entry(ws, path, memo) for path in list_data_files(ws, _LISTED)]


def _entry(ws: Workspace, path: Path, memo: Memo) -> FileEntry:
    version = file_version(path)
    size = version[0] if version else 0
    place = place_of(ws, path)
    key = ("counts", str(path), version)
    known: StructureSummary | DatasetSummary | None = memo.peek(key)
    if known is None and size <= _COUNTED_BYTES and path.suffix.lower() != ".parquet":
        try:
            known = memo.get(key, lambda: inspect_structure(path))
        except BackpropagateError as error:
            return FileEntry(path, place, size, problem=error.message)
    if known is None:
        return FileEntry(path, place, size)
    return FileEntry(path, place, size, str(known.layout), known.rows)


def place_of(ws: Workspace, path: Path) -> Place:
    """Return whose file it is: shipped, made or uploaded here, or of a folder named at start."""
    if path.is_relative_to(examples_dir()):
        return "example"
    return "yours" if path.is_relative_to(ws.settings.sandbox_root) else "data folder"


def tokenizer_of(ws: Workspace, model: str, memo: Memo) -> ChatTokenizer | None:
    """Return the tokenizer of a base model, None when the model must be fetched first.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE, the model is a folder that the page may not read.
        InputError: INPUT_MODEL_NOT_FOUND, the name can be no model.
        DependencyError: DEP_MODEL_LOAD_FAILED.
    """
    if understand(model).kind != "hub":
        check_readable(ws, Path(model).expanduser())
    folder = model_folder(ws, model)
    if folder is None:
        return None
    return memo.get(("tokenizer", str(folder)), lambda: ChatTokenizer.load(folder))


def read_page(
    ws: Workspace, path: Path, choices: DataChoices, memo: Memo, *, skip: int = 0, count: int = PAGE_ROWS
) -> RowsPage:
    """Return neighbouring rows; only as much of the file is read as that takes.

    Args:
        skip: rows to pass over, unusable ones counted.
        count: rows to return at most.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
        InputError: the file or the model cannot be read.
    """
    check_readable(ws, path)
    return page_of(path, tokenizer_of(ws, choices.model, memo), choices, skip=skip, count=count)


def page_of(
    path: Path, tokenizer: ChatTokenizer | None, choices: DataChoices, *, skip: int, count: int
) -> RowsPage:
    """Return neighbouring rows of a file that the caller may read; turns alone without a tokenizer.

    Raises:
        InputError: the file cannot be read.
    """
    if tokenizer is None:
        detection, rows = _without_tokens(path, skip, count + 1)
    else:
        found = preview(
            path,
            tokenizer,
            choices.max_seq_length,
            skip=skip,
            count=count + 1,
            train_on_responses=choices.train_on_responses,
        )
        detection, rows = found.detection, found.rows
    return RowsPage(detection, rows[:count], len(rows) > count, tokenizer is not None)


def read_numbered(
    ws: Workspace, path: Path, numbers: Iterable[int], choices: DataChoices, memo: Memo
) -> RowsPage:
    """Return the rows with these numbers, in the order of the file.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
        InputError: the file or the model cannot be read.
    """
    check_readable(ws, path)
    tokenizer = tokenizer_of(ws, choices.model, memo)
    wanted = set(numbers)
    rows: list[ShownRow] = []
    seen: list[RawRow] = []
    for row in read_rows(path) if wanted else ():
        if isinstance(row, RawRow) and len(seen) < _DETECTED_ROWS:
            seen.append(row)
        if row.row in wanted:
            rows.append(_shown(row, tokenizer, choices))
            if len(rows) == len(wanted):
                break
    return RowsPage(
        detect(row.value for row in seen), tuple(rows), has_more=False, has_tokens=tokenizer is not None
    )


def _shown(row: RawRow | RowProblem, tokenizer: ChatTokenizer | None, choices: DataChoices) -> ShownRow:
    if tokenizer is None:
        return _turns_only(row)
    return show(row, tokenizer, choices.max_seq_length, choices.train_on_responses)


def _without_tokens(path: Path, skip: int, count: int) -> tuple[Detection, tuple[ShownRow, ...]]:
    first = list(islice(read_rows(path), max(_DETECTED_ROWS, count)))
    detection = detect(row.value for row in first if isinstance(row, RawRow))
    found = first[:count] if not skip else list(islice(read_rows(path), skip, skip + count))
    return detection, tuple(_turns_only(row) for row in found)


def _turns_only(row: RawRow | RowProblem) -> ShownRow:
    converted = row if isinstance(row, RowProblem) else convert(row.value, row.row)
    if isinstance(converted, Conversation):
        return ShownRow(row.row, converted.messages, converted.text)
    return ShownRow(row.row, problem=converted)


def mask_turns(ws: Workspace, row: ShownRow, choices: DataChoices, memo: Memo) -> tuple[ShownTurn, ...]:
    """Return every token of a row by turn; nothing when the model is not here.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE for a model folder.
    """
    tokenizer = tokenizer_of(ws, choices.model, memo)
    if tokenizer is None:
        return ()
    return shown_turns(row.tokens, row.spans, frozenset(tokenizer.setup.control_tokens), tokenizer.shape.end)


def figures(ws: Workspace, path: Path, choices: DataChoices, memo: Memo) -> FileFigures:
    """Check every row of a file and count the tokens of its first rows, when the model is here.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
        InputError: the file cannot be read or has nothing to learn.
    """
    check_readable(ws, path)
    tokenizer = tokenizer_of(ws, choices.model, memo)
    version = file_version(path)
    key = ("figures", str(path), version, choices if tokenizer else None)
    found = memo.get(key, lambda: _figures(path, tokenizer, choices))
    memo.get(("counts", str(path), version), lambda: found.facts)
    return found


def _figures(path: Path, tokenizer: ChatTokenizer | None, choices: DataChoices) -> FileFigures:
    if tokenizer is None:
        return FileFigures(inspect_structure(path))
    scan = scan_file(
        path, tokenizer, ScanChoices(choices.max_seq_length, SAMPLE_ROWS, choices.train_on_responses)
    )
    return FileFigures(summarize(path, scan), histogram(scan.tokens.lengths))


class _CancelledError(Exception):
    """Ends a report that nobody waits for any more."""


class ReviewJob:
    """A full report in the making: another thread reads `done_rows` and may cancel it."""

    def __init__(self) -> None:
        self.done_rows = 0
        self._cancelled = threading.Event()

    def add(self, _conversation: Conversation) -> None:
        """Count a row that was read; raise when the report was cancelled."""
        self.done_rows += 1
        if self._cancelled.is_set():
            raise _CancelledError

    def cancel(self) -> None:
        """Ask the report to end at its next row."""
        self._cancelled.set()


def known_review(
    ws: Workspace, path: Path, choices: DataChoices, memo: Memo, *, heldout: Path | None = None
) -> DataReview | None:
    """Return the full report when it was made before and the file has not changed since.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
    """
    for file in (path, heldout):
        if file is not None:
            check_readable(ws, file)
    found: DataReview | None = memo.peek(_review_key(path, choices, heldout))
    return found


def full_review(
    ws: Workspace,
    path: Path,
    choices: DataChoices,
    memo: Memo,
    job: ReviewJob,
    *,
    heldout: Path | None = None,
) -> DataReview | None:
    """Count every token and judge the file; takes seconds for each ten thousand rows.

    Returns:
        The report; None when it was cancelled or the model must be fetched first.

    Raises:
        StateError: SANDBOX_PATH_OUTSIDE.
        InputError: a file cannot be read or has nothing to learn.
    """
    known = known_review(ws, path, choices, memo, heldout=heldout)
    if known is not None:
        return known
    tokenizer = tokenizer_of(ws, choices.model, memo)
    if tokenizer is None:
        return None
    try:
        return memo.get(
            _review_key(path, choices, heldout),
            lambda: review(
                path,
                tokenizer,
                choices.max_seq_length,
                heldout=heldout,
                train_on_responses=choices.train_on_responses,
                watcher=job,
            ),
        )
    except _CancelledError:
        return None


def _review_key(path: Path, choices: DataChoices, heldout: Path | None) -> tuple[object, ...]:
    other = (str(heldout), file_version(heldout)) if heldout is not None else None
    return ("review", str(path), file_version(path), choices, other)
