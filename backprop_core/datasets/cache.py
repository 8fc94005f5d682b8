"""Encoded files kept by the digest of everything that decides over them, so that a second start is quick."""

from __future__ import annotations

import hashlib
import zipfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from backprop_core import files
from backprop_core.datasets.convert import convert
from backprop_core.datasets.mask import Encoded, Overlength, encode_many
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation, RowCode, RowProblem
from backprop_core.datasets.tokenizer import ChatTokenizer

_FORMAT: Final = 1
_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class EncodeChoices:
    """Everything beside file and tokenizer that decides over ids and masks.

    Args:
        max_seq_length: tokens of one sequence.
        train_on_responses: loss on answers only.
        overlength: what happens to longer rows.
        samples: usable rows to take; None for all.
    """

    max_seq_length: int
    train_on_responses: bool = True
    overlength: Overlength = "truncate"
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """Every sequence of a data file, laid end to end.

    Args:
        ids: token ids of all sequences, `(tokens,)`.
        mask: True where a token carries loss, `(tokens,)`.
        starts: where each sequence begins in `ids`, and the end of the last, `(sequences + 1,)`.
        rows: number of the row that each sequence came from, `(sequences,)`.
        truncated: tokens cut off each sequence, `(sequences,)`.
        problems: rows that were left out.
        sha256: digest of the data file.
        was_cached: whether nothing had to be tokenized.
    """

    ids: NDArray[np.uint32]
    mask: NDArray[np.bool_]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    truncated: NDArray[np.int64]
    problems: tuple[RowProblem, ...]
    sha256: str
    was_cached: bool

    def __len__(self) -> int:
        return len(self.rows)

    def sequences(self) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.bool_]]]:
        """Yield ids and mask of each sequence, both `(seq,)`."""
        for start, end in zip(self.starts, self.starts[1:], strict=False):
            yield self.ids[start:end], self.mask[start:end]


def encode_file(
    path: Path,
    tokenizer: ChatTokenizer,
    choices: EncodeChoices,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> EncodedFile:
    """Encode a data file, or take it from the cache.

    Args:
        path: the data file.
        tokenizer: tokenizer and template of the model.
        choices: what else decides over ids and masks.
        cache: folder of encoded files; None to keep nothing.
        progress: receives the number of rows encoded so far.

    Raises:
        InputError: as `RowReader.batches`.
    """
    if cache is not None:
        digest = files.sha256_of(path) if path.is_file() else ""
        kept = _load(_place(cache, digest, tokenizer, choices), digest)
        if kept is not None:
            return kept
    encoded = _encode(path, tokenizer, choices, progress)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        _save(_place(cache, encoded.sha256, tokenizer, choices), encoded)
    return encoded


def _encode(
    path: Path, tokenizer: ChatTokenizer, choices: EncodeChoices, progress: Callable[[int], None] | None
) -> EncodedFile:
    reader = RowReader(path)
    ids, mask = array("I"), bytearray()
    starts, rows, truncated = array("q", [0]), array("q"), array("q")
    problems: list[RowProblem] = []
    done = 0
    for batch in _batches(reader, choices, problems):
        for result in encode_many(
            batch, tokenizer, choices.max_seq_length, choices.train_on_responses, choices.overlength
        ):
            if isinstance(result, RowProblem):
                problems.append(result)
            else:
                _append(result, ids, mask, starts, rows, truncated)
        done += len(batch)
        if progress is not None:
            progress(done)
    return EncodedFile(
        np.frombuffer(ids, dtype=np.uint32) if ids else np.zeros(0, np.uint32),
        np.frombuffer(bytes(mask), dtype=np.bool_),
        np.frombuffer(starts, dtype=np.int64),
        np.frombuffer(rows, dtype=np.int64) if rows else np.zeros(0, np.int64),
        np.frombuffer(truncated, dtype=np.int64) if truncated else np.zeros(0, np.int64),
        tuple(sorted(problems, key=lambda problem: problem.row)),
        reader.counter.sha256,
        was_cached=False,
    )


def _append(
    result: Encoded,
    ids: array[int],
    mask: bytearray,
    starts: array[int],
    rows: array[int],
    truncated: array[int],
) -> None:
    ids.extend(result.input_ids)
    mask.extend(result.labels_mask)
    starts.append(len(ids))
    rows.append(result.row)
    truncated.append(result.n_truncated)


def _batches(
    reader: RowReader, choices: EncodeChoices, problems: list[RowProblem]
) -> Iterator[list[Conversation]]:
    """Yield the usable rows in batches; the whole file is read, so that its digest is known."""
    waiting: list[Conversation] = []
    taken = 0
    for batch in reader.batches():
        problems.extend(batch.problems)
        for number, value in batch.rows:
            if choices.samples is not None and taken >= choices.samples:
                break
            converted = convert(value, number)
            if isinstance(converted, RowProblem):
                problems.append(converted)
                continue
            taken += 1
            waiting.append(converted)
        if len(waiting) >= _BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _place(cache: Path, digest: str, tokenizer: ChatTokenizer, choices: EncodeChoices) -> Path:
    everything = [_FORMAT, digest, tokenizer.fingerprint, asdict(choices)]
    return cache / f"{hashlib.sha256(orjson.dumps(everything)).hexdigest()}.npz"


def _save(place: Path, encoded: EncodedFile) -> None:
    problems = orjson.dumps([[problem.row, problem.code, problem.reason] for problem in encoded.problems])
    with files.atomic_writer(place, durable=False) as stream:
        np.savez(
            stream,
            ids=encoded.ids,
            mask=np.packbits(encoded.mask),
            starts=encoded.starts,
            rows=encoded.rows,
            truncated=encoded.truncated,
            problems=np.frombuffer(problems, dtype=np.uint8),
        )


def _load(place: Path, digest: str) -> EncodedFile | None:
    """Return what is kept; a file that cannot be read counts as absent and is written anew."""
    try:
        with place.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            ids = kept["ids"]
            mask = np.unpackbits(kept["mask"], count=len(ids)).astype(np.bool_)
            problems = orjson.loads(kept["problems"].tobytes())
            return EncodedFile(
                ids,
                mask,
                kept["starts"],
                kept["rows"],
                kept["truncated"],
                tuple(RowProblem(row, RowCode(code), reason) for row, code, reason in problems),
                digest,
                was_cached=True,
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
