"""What can be done to a data file. Each operation writes a new version and leaves its source alone.

An operation is a frozen record; `versions.apply` runs it and keeps it as the recipe of the result.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import orjson

from backprop_core.datasets.convert import ColumnMap, convert
from backprop_core.datasets.duplicates import DuplicateFinder, NearIndex
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rows import Conversation, RawRow
from backprop_core.datasets.texts import digest, question_text, whole_text, words_of
from backprop_core.datasets.write_rows import OutputFormat, line_of, row_of
from backprop_core.errors import InputError


@dataclass(frozen=True, slots=True)
class Filter:
    """Keep the rows that meet every given condition.

    Args:
        min_chars: characters of everything said; `max_chars` likewise.
        min_turns: turns without the system turn; `max_turns` likewise. Raw text has one.
        matching: regular expression that must occur in what is said.
        not_matching: regular expression that must not occur.
        usable_only: drop the rows that cannot be trained on.
    """

    name: ClassVar[str] = "filter"
    min_chars: int = 0
    max_chars: int | None = None
    min_turns: int = 0
    max_turns: int | None = None
    matching: str = ""
    not_matching: str = ""
    usable_only: bool = True


@dataclass(frozen=True, slots=True)
class Dedupe:
    """Keep the first of equal rows, and of nearly equal ones.

    Args:
        near: whether nearly equal rows go too; needs the `validation` extra.
        threshold: likeness from which rows are nearly equal, 0.5 to 1.
    """

    name: ClassVar[str] = "dedupe"
    near: bool = True
    threshold: float = 0.8


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Order the rows by length, which teaches easy rows first.

    Args:
        order: `short_first` or `long_first`; equal lengths keep their order.
    """

    name: ClassVar[str] = "curriculum"
    order: Literal["short_first", "long_first"] = "short_first"


@dataclass(frozen=True, slots=True)
class Sample:
    """Keep some rows, chosen by a fixed seed, in their order.

    Args:
        rows: how many to keep.
        seed: the same seed keeps the same rows.
    """

    name: ClassVar[str] = "sample"
    rows: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """Set a share of the rows aside. Rows with the same question stay together, so nothing leaks.

    Args:
        share: what goes into the held-out part, above 0 and below 1.
        seed: the same seed gives the same parts.
        part: which part this version holds.
    """

    name: ClassVar[str] = "split"
    share: float = 0.1
    seed: int = 0
    part: Literal["train", "heldout"] = "train"


@dataclass(frozen=True, slots=True)
class Convert:
    """Write every usable row in one format.

    Args:
        to: `openai`, `sharegpt` or `csv`; the last holds one question and answer per row.
        prompt: column of what the user says, for files whose own names say nothing; needs `completion`.
        completion: column of what the assistant answers.
        system: column of the system turn.
        text: column of raw text; excludes the others.
        chat: column of a list of turns; excludes the others.
    """

    name: ClassVar[str] = "convert"
    to: OutputFormat = "openai"
    prompt: str = ""
    completion: str = ""
    system: str = ""
    text: str = ""
    chat: str = ""

    @property
    def columns(self) -> ColumnMap | None:
        """The columns named by hand; None when the formats of the rows are to be found."""
        named = (self.prompt, self.completion, self.system, self.text, self.chat)
        return ColumnMap(*(name or None for name in named)) if any(named) else None


Operation = Filter | Dedupe | Curriculum | Sample | Split | Convert
OPERATIONS: Final[Mapping[str, type[Operation]]] = {
    kind.name: kind for kind in (Filter, Dedupe, Curriculum, Sample, Split, Convert)
}


def operation_from(name: str, parameters: Mapping[str, Any]) -> Operation:
    """Build the operation that a recipe, a form or a command names.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, unknown name or parameter, or a value out of range.
    """
    kind = OPERATIONS.get(name)
    if kind is None:
        raise _invalid(f"{name!r} is not an operation; there are {', '.join(OPERATIONS)}.")
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise _invalid(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    operation = kind(**parameters)
    check(operation)
    return operation


def parameters_of(operation: Operation) -> dict[str, Any]:
    """Return the parameters of an operation as plain values."""
    return asdict(operation)


def check(operation: Operation) -> None:
    """Raise unless every value is in its range.

    Raises:
        InputError: INPUT_VALIDATION_FAILED.
    """
    match operation:
        case Filter(matching=wanted, not_matching=unwanted):
            for pattern in (wanted, unwanted):
                _compiled(pattern)
        case Dedupe(threshold=threshold) if not 0.5 <= threshold <= 1:
            raise _invalid(f"threshold is {threshold}; it must be from 0.5 to 1.")
        case Sample(rows=rows) if rows < 1:
            raise _invalid(f"rows is {rows}; it must be 1 or more.")
        case Split(share=share) if not 0 < share < 1:
            raise _invalid(f"share is {share}; it must be above 0 and below 1.")
        case Convert() if operation.columns is not None:
            _check_columns(operation)
        case _:
            return


def _check_columns(operation: Convert) -> None:
    pair = bool(operation.prompt), bool(operation.completion)
    ways = (any((*pair, operation.system)), bool(operation.text), bool(operation.chat))
    if sum(ways) > 1:
        raise _invalid("Name a pair of columns, or one of text, or one of turns, not several of them.")
    if ways[0] and not all(pair):
        raise _invalid("Both a column of questions and one of answers must be named.")


def run(operation: Operation, source: Path) -> Iterator[bytes]:
    """Yield the lines of the new version.

    Raises:
        InputError: the source cannot be read, or the operation cannot be done.
        DependencyError: DEP_EXTRA_MISSING.
    """
    check(operation)
    match operation:
        case Filter():
            return _filter(operation, source)
        case Dedupe():
            return _dedupe(operation, source)
        case Curriculum():
            return _curriculum(operation, source)
        case Sample():
            return _sample(operation, source)
        case Split():
            return _split(operation, source)
        case Convert():
            return _convert(operation, source)


def _raw(source: Path) -> Iterator[RawRow]:
    return (row for row in read_rows(source) if isinstance(row, RawRow))


def _usable(source: Path, columns: ColumnMap | None = None) -> Iterator[tuple[RawRow, Conversation]]:
    for row in _raw(source):
        converted = convert(row.value, row.row, columns)
        if isinstance(converted, Conversation):
            yield row, converted


def _filter(operation: Filter, source: Path) -> Iterator[bytes]:
    wanted, unwanted = _compiled(operation.matching), _compiled(operation.not_matching)
    for row in _raw(source):
        converted = convert(row.value, row.row)
        if not isinstance(converted, Conversation):
            if not operation.usable_only:
                yield line_of(row.value)
            continue
        text = whole_text(converted)
        turns = sum(message.role != "system" for message in converted.messages) or 1
        if (
            operation.min_chars <= len(text) <= _or_endless(operation.max_chars)
            and operation.min_turns <= turns <= _or_endless(operation.max_turns)
            and (wanted is None or wanted.search(text))
            and (unwanted is None or not unwanted.search(text))
        ):
            yield line_of(row.value)


def _dedupe(operation: Dedupe, source: Path) -> Iterator[bytes]:
    if operation.near:
        # Asking for what is not installed is an error here; a report merely leaves it out.
        NearIndex(operation.threshold)
    finder = DuplicateFinder(near=operation.near, threshold=operation.threshold)
    for _, conversation in _usable(source):
        finder.add(conversation)
    repeated = finder.repeated_rows()
    for row in _raw(source):
        if row.row not in repeated:
            yield line_of(row.value)


def _curriculum(operation: Curriculum, source: Path) -> Iterator[bytes]:
    lengths = [(len(whole_text(conversation)), row.row) for row, conversation in _usable(source)]
    sign = 1 if operation.order == "short_first" else -1
    place = {
        row: place
        for place, (_, row) in enumerate(sorted(lengths, key=lambda item: (sign * item[0], item[1])))
    }
    lines: list[bytes] = [b""] * len(place)
    for row in _raw(source):
        if row.row in place:
            lines[place[row.row]] = line_of(row.value)
    return iter(lines)


def _sample(operation: Sample, source: Path) -> Iterator[bytes]:
    ranks = sorted((_rank(operation.seed, row.row.to_bytes(8, "big")), row.row) for row in _raw(source))
    chosen = {row for _, row in ranks[: operation.rows]}
    return (line_of(row.value) for row in _raw(source) if row.row in chosen)


def _split(operation: Split, source: Path) -> Iterator[bytes]:
    question_of = {
        row.row: digest(words_of(question_text(conversation))) for row, conversation in _usable(source)
    }
    wanted = max(1, round(len(question_of) * operation.share))
    rows_of: dict[bytes, int] = {}
    for question in question_of.values():
        rows_of[question] = rows_of.get(question, 0) + 1
    heldout: set[bytes] = set()
    count = 0
    for _, question in sorted((_rank(operation.seed, question), question) for question in rows_of):
        if count >= wanted or count + rows_of[question] > wanted * 2:
            continue
        heldout.add(question)
        count += rows_of[question]
    if not heldout or len(heldout) == len(rows_of):
        raise InputError("INPUT_DATASET_INVALID", "The file has too few different questions to be split.")
    is_heldout = operation.part == "heldout"
    for row in _raw(source):
        if row.row in question_of and (question_of[row.row] in heldout) is is_heldout:
            yield line_of(row.value)


def _convert(operation: Convert, source: Path) -> Iterator[bytes]:
    _require_columns(operation, source)
    if operation.to == "csv":
        yield b"prompt,completion\r\n"
    for _, conversation in _usable(source, operation.columns):
        yield row_of(conversation, operation.to)


def _require_columns(operation: Convert, source: Path) -> None:
    """Refuse columns that the first row does not have."""
    named = [operation.prompt, operation.completion, operation.system, operation.text, operation.chat]
    first = next(_raw(source), None)
    missing = [name for name in named if name and first is not None and name not in first.value]
    if missing:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"{source.name!r} has no column {missing[0][:60]!r}.",
            hint=f"It has {', '.join(str(name)[:30] for name in list(first.value)[:10])}." if first else "",
        )


def _rank(seed: int, key: bytes) -> bytes:
    """Return a number that orders rows at random, the same on every machine."""
    return hashlib.blake2b(orjson.dumps(seed) + b":" + key, digest_size=8).digest()


def _compiled(pattern: str) -> re.Pattern[str] | None:
    if not pattern:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise _invalid(f"{pattern!r} is not a regular expression: {error}.") from error


def _or_endless(limit: int | None) -> float:
    return float("inf") if limit is None else limit


def _invalid(message: str) -> InputError:
    return InputError(
        "INPUT_VALIDATION_FAILED",
        message,
        hint="`backprop data --help` lists the operations and their values.",
    )
