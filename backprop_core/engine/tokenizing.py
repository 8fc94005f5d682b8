"""Training rows from the data file, by the same code that draws the mask view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backprop_core.datasets.convert import convert
from backprop_core.datasets.legs import digest_of
from backprop_core.datasets.mask import encode_many
from backprop_core.datasets.readers import RowReader
from backprop_core.datasets.rows import Conversation, RowProblem
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.collating import Row
from backprop_core.engine.context import RunContext
from backprop_core.engine.evaluation import hold_out
from backprop_core.errors import InputError


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Every usable row of the data file, encoded.

    Attributes:
        rows: those that train.
        held_out: those that only measure.
        sha256: of the file's bytes that were read.
        unusable: rows left out; the first of them is `first_problem`.
    """

    rows: tuple[Row, ...]
    held_out: tuple[Row, ...]
    sha256: str
    unusable: int
    first_problem: RowProblem | None
    longest_before_cut: int
    truncated: int

    @property
    def tokens(self) -> int:
        """Tokens of one pass over the rows."""
        return sum(row.length for row in self.rows)

    @property
    def supervised_tokens(self) -> int:
        """Tokens of one pass that carry loss."""
        return sum(row.supervised for row in self.rows)


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """The rows of one data file that can be learned from.

    Attributes:
        rows, digests: each row, and what tells it from others; see `datasets.legs.digest_of`.
        sha256: of the file's bytes that were read.
        unusable: rows left out; the first of them is `first_problem`.
    """

    rows: tuple[Row, ...]
    digests: tuple[str, ...]
    sha256: str
    unusable: int
    first_problem: RowProblem | None
    longest_before_cut: int
    truncated: int


def read_training_data(context: RunContext, model_path: Path) -> TrainingData:
    """Read and encode the rows of the run with the tokenizer in `model_path`.

    Raises:
        InputError: the file cannot be read, or none of its rows can be learned from.
    """
    spec = context.spec
    found = encode_file(context, Path(spec.dataset).expanduser(), model_path, limit=spec.samples)
    return TrainingData(
        *hold_out(found.rows, spec.eval_split, spec.seed),
        found.sha256,
        found.unusable,
        found.first_problem,
        found.longest_before_cut,
        found.truncated,
    )


def encode_file(
    context: RunContext, path: Path, model_path: Path, *, limit: int | None = None
) -> EncodedFile:
    """Read and encode the rows of a data file as the run's spec says.

    Args:
        limit: use only so many conversations, the first ones.

    Raises:
        InputError: the file cannot be read, or none of its rows can be learned from.
    """
    spec = context.spec
    reporter = context.phase("tokenizing", path.name)
    tokenizer = ChatTokenizer.load(model_path)
    conversations, problems, sha256 = _conversations(path)
    chosen = conversations[:limit]
    rows: list[Row] = []
    digests: list[str] = []
    longest = truncated = encoded = 0
    items = encode_many(chosen, tokenizer, spec.max_seq_length, spec.train_on_responses)
    for done, (conversation, item) in enumerate(zip(chosen, items, strict=True), 1):
        reporter.progress(done, len(chosen))
        if isinstance(item, RowProblem):
            problems.append(item)
            continue
        encoded += 1
        row = Row.from_mask(item.input_ids, item.labels_mask)
        longest = max(longest, len(item.input_ids) + item.n_truncated)
        truncated += item.n_truncated > 0
        if row.supervised:
            rows.append(row)
            digests.append(digest_of(conversation))
    first = min(problems, key=lambda problem: problem.row, default=None)
    if not rows:
        reason = f" Row {first.row}: {first.reason}." if first else ""
        raise InputError("INPUT_DATASET_INVALID", f"{path} has no row to learn from.{reason}")
    unusable = len(problems) + encoded - len(rows)
    return EncodedFile(tuple(rows), tuple(digests), sha256, unusable, first, longest, truncated)


def _conversations(path: Path) -> tuple[list[Conversation], list[RowProblem], str]:
    """Return the rows of a file that say something, what is wrong with the others, and the file's hash."""
    conversations: list[Conversation] = []
    problems: list[RowProblem] = []
    reader = RowReader(path)
    for batch in reader.batches():
        problems += batch.problems
        for number, value in batch.rows:
            found = convert(value, number)
            if isinstance(found, Conversation):
                conversations.append(found)
            else:
                problems.append(found)
    return conversations, problems, reader.counter.sha256 or ""
