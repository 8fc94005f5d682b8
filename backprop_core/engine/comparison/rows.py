"""The held-out rows of an evaluation, each also with the answer of another row, and what leaks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from backprop_core.config.evaluations import EvalSpec, Leaks
from backprop_core.config.specs import TrainSpec
from backprop_core.datasets.convert import convert
from backprop_core.datasets.leaks import LeakFinder
from backprop_core.datasets.mask import Encoded, encode_many
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rows import Conversation, RawRow
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.collating import Row
from backprop_core.engine.evaluation import hold_out
from backprop_core.errors import InputError

_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One row that is compared.

    Attributes:
        own: the row as it stands, encoded.
        other: the same question with the last answer of another row; None when no row has another answer.
    """

    conversation: Conversation
    own: Row
    other: Row | None


def held_out_rows(spec: EvalSpec, training: TrainSpec, tokenizer: ChatTokenizer) -> list[HeldOut]:
    """Return the rows, spread over all there are.

    Raises:
        InputError: the file cannot be read, or there is no row to compare on.
    """
    length, on_responses = training.max_seq_length, training.train_on_responses
    if spec.data is not None:
        path = Path(spec.data).expanduser()
        conversations = _conversations(path, None)
    else:
        path = Path(training.dataset).expanduser()
        conversations = _held_out_of(training, _conversations(path, training.samples), tokenizer)
    step = max(1, len(conversations) // spec.rows)
    conversations = conversations[::step][: spec.rows]
    swapped = swap_answers(conversations)
    encoded = list(encode_many(conversations, tokenizer, length, on_responses))
    others = list(encode_many(swapped, tokenizer, length, on_responses)) if swapped else [None] * len(encoded)
    rows = [
        HeldOut(conversation, own, _row(other))
        for conversation, item, other in zip(conversations, encoded, others, strict=True)
        if (own := _row(item)) is not None
    ]
    if not rows:
        raise InputError("INPUT_DATASET_INVALID", f"{path.name} has no held-out row that can be compared.")
    return rows


def swap_answers(conversations: Sequence[Conversation]) -> list[Conversation]:
    """Return each conversation with the last answer of another one; none when answers are all the same.

    Every answer is used once, so that answers as such weigh the same on both sides.
    """
    places = [at for at, row in enumerate(conversations) if row.messages and _answer(row)]
    if len(places) < len(conversations) or len({_answer(row) for row in conversations}) < 2:
        return []
    shuffled = np.random.default_rng(_SEED).permutation(len(places)).tolist()
    turn = _best_turn([_answer(conversations[at]) for at in shuffled])
    swapped = list(conversations)
    for number, at in enumerate(shuffled):
        answer = _answer(conversations[shuffled[(number + turn) % len(shuffled)]])
        messages = conversations[at].messages
        swapped[at] = replace(
            conversations[at],
            messages=(*messages[:-1], replace(messages[-1], content=answer, reasoning=None)),
        )
    return swapped


def find_leaks(spec: EvalSpec, training: TrainSpec) -> Leaks | None:
    """Return which rows of a held-out file the run was trained on; None when there are none."""
    if spec.data is None:
        return None
    finder = LeakFinder(Path(spec.data).expanduser())
    for conversation in _conversations(Path(training.dataset).expanduser(), training.samples):
        finder.add(conversation)
    found = finder.findings()
    if not found.rows:
        return None
    return Leaks(rows=found.rows, training_row=found.pairs[0][0], held_out_row=found.pairs[0][1])


def _held_out_of(
    training: TrainSpec, conversations: list[Conversation], tokenizer: ChatTokenizer
) -> list[Conversation]:
    """Return the conversations that the run held out, by the split that it used."""
    encoded = encode_many(conversations, tokenizer, training.max_seq_length, training.train_on_responses)
    usable = [item for item in encoded if isinstance(item, Encoded) and item.n_loss]
    rows = [Row.from_mask(item.input_ids, item.labels_mask) for item in usable]
    held = {id(row) for row in hold_out(rows, training.eval_split, training.seed)[1]}
    numbers = {item.row for item, row in zip(usable, rows, strict=True) if id(row) in held}
    return [conversation for conversation in conversations if conversation.row in numbers]


def _conversations(path: Path, limit: int | None) -> list[Conversation]:
    raw = (row for row in read_rows(path) if isinstance(row, RawRow))
    converted = (convert(row.value, row.row) for row in raw)
    return [row for row in converted if isinstance(row, Conversation)][:limit]


def _answer(conversation: Conversation) -> str:
    last = conversation.messages[-1] if conversation.messages else None
    is_answer = last is not None and last.role == "assistant" and not last.tool_calls
    return last.content if last is not None and is_answer else ""


def _best_turn(answers: Sequence[str]) -> int:
    """Return by how many places to turn the answers so that the fewest meet their own row."""
    return min(
        range(1, len(answers)),
        key=lambda turn: sum(a == answers[(at + turn) % len(answers)] for at, a in enumerate(answers)),
    )


def _row(item: object) -> Row | None:
    if not isinstance(item, Encoded) or not item.n_loss:
        return None
    row = Row.from_mask(item.input_ids, item.labels_mask)
    return row if row.supervised else None
