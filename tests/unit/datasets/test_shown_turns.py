"""Tokens by turn: what the template prints goes to the turn it belongs to, and no token is lost."""

from __future__ import annotations

from backprop_core.datasets.preview import ShownRow, show
from backprop_core.datasets.rows import RawRow
from backprop_core.datasets.shown_turns import Piece, ShownTurn, shown_turns
from tests.unit.datasets.families import family

TWO_TURNS = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]}


def turns_of(name: str, value: dict, limit: int = 4096) -> tuple[ShownRow, tuple[ShownTurn, ...]]:
    tokenizer = family(name)
    row = show(RawRow(1, value), tokenizer, limit)
    controls = frozenset(tokenizer.setup.control_tokens)
    return row, shown_turns(row.tokens, row.spans, controls, tokenizer.shape.end)


def spelled(turn: ShownTurn) -> str:
    return "".join(piece.text for piece in turn.pieces)


def test_headers_and_ends_stand_with_their_turn_and_the_template_speaks_for_itself():
    _, turns = turns_of("smollm2-135m", TWO_TURNS)
    assert [(turn.role, spelled(turn)) for turn in turns] == [
        ("template", "<|im_start|>system\nYou are a helper.<|im_end|>\n"),
        ("user", "<|im_start|>user\nHello<|im_end|>\n"),
        ("assistant", "<|im_start|>assistant\nGood day<|im_end|>\n"),
    ]


def test_the_answer_and_its_end_token_are_learned_and_the_header_is_not():
    _, turns = turns_of("smollm2-135m", TWO_TURNS)
    assert turns[-1].pieces == (
        Piece("<|im_start|>", "context", is_control=True),
        Piece("assistant\n", "context", is_control=False),
        Piece("Good day", "loss", is_control=False),
        Piece("<|im_end|>", "loss", is_control=True),
        Piece("\n", "context", is_control=False),
    )


def test_llama_headers_of_several_control_tokens_stand_with_their_turn():
    _, turns = turns_of("llama-3.2-1b", TWO_TURNS)
    assert spelled(turns[-1]) == "<|start_header_id|>assistant<|end_header_id|>\n\nGood day<|eot_id|>"


def test_every_token_of_every_family_is_in_exactly_one_turn():
    for name in ("smollm2-135m", "smollm3-3b", "phi-4-mini-3.8b", "mistral-7b", "qwen2.5-7b", "llama-3.2-3b"):
        row, turns = turns_of(name, TWO_TURNS)
        assert sum(turn.n_tokens for turn in turns) == len(row.tokens), name
        assert sum(turn.n_loss for turn in turns) == row.n_loss, name
        assert "".join(map(spelled, turns)) == "".join(token.text for token in row.tokens), name


def test_tokens_beyond_the_length_are_pieces_of_their_own():
    whole, _ = turns_of("smollm2-135m", TWO_TURNS)
    _, turns = turns_of("smollm2-135m", TWO_TURNS, limit=len(whole.tokens) - 2)
    cut = [(piece.text, piece.kind) for piece in turns[-1].pieces[-2:]]
    assert cut == [("<|im_end|>", "cut"), ("\n", "cut")]


def test_raw_text_is_one_turn():
    _, turns = turns_of("smollm2-135m", {"text": "the hill"})
    assert [turn.role for turn in turns] == ["text"]


def test_a_row_without_tokens_has_no_turns():
    assert shown_turns((), (), frozenset(), "") == ()
