"""Training rows from the data file, by the same code that draws the mask view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backprop_core.datasets.convert import convert
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


def read_training_data(context: RunContext, model_path: Path) -> TrainingData:
    """Read and encode the rows of the run with the tokenizer in `model_path`.

    Raises:
        InputError: the file cannot be read, or none of its rows can be learned from.
    """
    spec = context.spec
    path = Path(spec.dataset).expanduser()
    reporter = context.phase("tokenizing", path.name)
    tokenizer = ChatTokenizer.load(model_path)
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
    chosen = conversations[: spec.samples]
    rows: list[Row] = []
    longest = truncated = 0
    for done, item in enumerate(
        encode_many(chosen, tokenizer, spec.max_seq_length, spec.train_on_responses), 1
    ):
        reporter.progress(done, len(chosen))
        if isinstance(item, RowProblem):
            problems.append(item)
            continue
        rows.append(Row.from_mask(item.input_ids, item.labels_mask))
        longest = max(longest, len(item.input_ids) + item.n_truncated)
        truncated += item.n_truncated > 0
    first = min(problems, key=lambda problem: problem.row, default=None)
    usable = tuple(row for row in rows if row.supervised)
    if not usable:
        reason = f" Row {first.row}: {first.reason}." if first else ""
        raise InputError("INPUT_DATASET_INVALID", f"{path} has no row to learn from.{reason}")
    return TrainingData(
        *hold_out(usable, spec.eval_split, spec.seed),
        reader.counter.sha256 or "",
        len(problems) + len(rows) - len(usable),
        first,
        longest,
        truncated,
    )
