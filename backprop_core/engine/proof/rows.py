"""Rows on which answers are compared: held-out ones of the run, else training rows, else built-in texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from backprop_core.config.specs import TrainSpec
from backprop_core.datasets.convert import convert
from backprop_core.datasets.mask import Encoded, encode_many
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rows import Conversation, RawRow
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.collating import Row
from backprop_core.engine.evaluation import hold_out
from backprop_core.engine.proof import probes
from backprop_core.engine.proof.subject import Subject
from backprop_core.errors import BackpropagateError
from backprop_core.runs.store import training_folder

ROW_TOKENS: Final = 512
_ROWS: Final = 8
_READ_MAX: Final = 2000
_FIRST_TOKENS: Final = 20
_LAST_TOKENS: Final = 4


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One row and the tokens of it that are compared.

    Attributes:
        ids: token ids, `(seq,)`.
        places: positions in `ids` of answer tokens, each at least 1, in order.
    """

    ids: tuple[int, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProofRows:
    """The rows of a proof and where they come from, in words."""

    rows: tuple[ProofRow, ...]
    origin: str


def choose_rows(subject: Subject, tokenizer: ChatTokenizer) -> ProofRows:
    """Return at most eight rows; each gives the first tokens of its answer and the last ones."""
    run = training_folder(subject.adapter, subject.run_id) if subject.adapter is not None else None
    if run is not None:
        try:
            found = _of_run(run.spec(), tokenizer)
        except BackpropagateError:
            # The data may have been moved since; the proof goes on with what it has.
            found = ProofRows((), "")
        if found.rows:
            return found
    built_in = encode_many(probes.ANSWERED, tokenizer, ROW_TOKENS)
    return ProofRows(_chosen([row for row in built_in if isinstance(row, Encoded)]), "built-in texts")


def _of_run(spec: TrainSpec, tokenizer: ChatTokenizer) -> ProofRows:
    """Return rows of a run's data; those of a long file are looked for at its beginning."""
    path = Path(spec.dataset).expanduser()
    raw = (row for row in read_rows(path) if isinstance(row, RawRow))
    converted = (convert(row.value, row.row) for row in islice(raw, _READ_MAX))
    conversations = [row for row in converted if isinstance(row, Conversation)][: spec.samples]
    length = min(spec.max_seq_length, ROW_TOKENS)
    encoded = [
        row
        for row in encode_many(conversations, tokenizer, length, spec.train_on_responses)
        if isinstance(row, Encoded) and row.n_loss
    ]
    rows = [Row.from_mask(row.input_ids, row.labels_mask) for row in encoded]
    held = {id(row) for row in hold_out(rows, spec.eval_split, spec.seed)[1]}
    held_out = [row for row, plain in zip(encoded, rows, strict=True) if id(plain) in held]
    kind = "held-out" if held_out else "training"
    chosen = _chosen(held_out or encoded)
    return ProofRows(chosen, f"{len(chosen)} {kind} rows of {path.name}")


def _chosen(encoded: Sequence[Encoded]) -> tuple[ProofRow, ...]:
    """Return rows spread over all, with the answer tokens that are compared."""
    step = max(1, len(encoded) // _ROWS)
    chosen = []
    for row in encoded[::step][:_ROWS]:
        places = [place for place, has_loss in enumerate(row.labels_mask) if has_loss and place]
        kept = places[:_FIRST_TOKENS] + places[_FIRST_TOKENS:][-_LAST_TOKENS:]
        if kept:
            chosen.append(ProofRow(tuple(row.input_ids), tuple(kept)))
    return tuple(chosen)
