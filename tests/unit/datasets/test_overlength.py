"""Rows that are too long are cut, dropped or split, as chosen, and counted."""

from __future__ import annotations

from backprop_core.datasets.mask import Encoded, encode_many
from backprop_core.datasets.rows import Conversation, Message, RowCode, RowProblem
from tests.unit.datasets.families import family
from tests.unit.datasets.shown import shown

LONG = Conversation(
    (
        Message("system", "S"),
        Message("user", "aa"),
        Message("assistant", "bb"),
        Message("user", "cc"),
        Message("assistant", "dd"),
        Message("user", "ee"),
    ),
    3,
)


def test_a_row_that_is_too_long_can_be_a_problem():
    [problem] = encode_many([LONG], family("phi-4-mini-3.8b"), 20, overlength="drop")

    assert problem == RowProblem(3, RowCode.TOO_MANY_TOKENS, "24 tokens are more than the limit of 20")


def test_a_row_that_fits_is_not_dropped():
    [encoded] = encode_many([LONG], family("phi-4-mini-3.8b"), 24, overlength="drop")

    assert isinstance(encoded, Encoded)


def test_a_conversation_is_split_before_questions_and_each_part_has_the_system_turn():
    tokenizer = family("phi-4-mini-3.8b")

    parts = list(encode_many([LONG], tokenizer, 14, overlength="split"))

    assert [shown(part, tokenizer) for part in parts if isinstance(part, Encoded)] == [
        "<|system|>S<|end|><|user|>aa<|end|><|assistant|>⟦bb<|end|>⟧<|endoftext|>",
        "<|system|>S<|end|><|user|>cc<|end|><|assistant|>⟦dd<|end|>⟧<|endoftext|>",
    ]
    assert [part.row for part in parts] == [3, 3]


def test_exchanges_that_fit_together_stay_together():
    parts = list(encode_many([LONG], family("phi-4-mini-3.8b"), 20, overlength="split"))

    assert [len(part.input_ids) for part in parts if isinstance(part, Encoded)] == [20]


def test_a_single_exchange_that_is_too_long_is_cut():
    row = Conversation((Message("user", "a"), Message("assistant", "b" * 50)), 1)

    [part] = encode_many([row], family("phi-4-mini-3.8b"), 20, overlength="split")

    assert isinstance(part, Encoded)
    assert (len(part.input_ids), part.n_truncated) == (20, 36)


def test_raw_text_is_split_without_losing_a_token():
    tokenizer = family("phi-4-mini-3.8b")
    row = Conversation((), 1, text="the long story of the hill" * 3)
    [whole] = encode_many([row], tokenizer, 1000)

    parts = [
        part for part in encode_many([row], tokenizer, 16, overlength="split") if isinstance(part, Encoded)
    ]

    assert isinstance(whole, Encoded)
    assert [token for part in parts for token in part.input_ids] == whole.input_ids
    assert {len(part.input_ids) for part in parts[:-1]} == {16}
