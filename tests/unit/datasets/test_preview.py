"""The mask view shows every token of a row by the code that training uses."""

from __future__ import annotations

import json

from backprop_core.datasets.convert import convert
from backprop_core.datasets.detect import Layout
from backprop_core.datasets.mask import encode
from backprop_core.datasets.preview import preview, show
from backprop_core.datasets.rows import Conversation, RawRow, RowCode
from tests.unit.datasets.families import family

CHAT = {
    "messages": [{"role": "user", "content": "Grüß 🐦‍⬛!"}, {"role": "assistant", "content": "Ja — 東京"}]
}


def write(tmp_path, rows):
    path = tmp_path / "data.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_the_tokens_of_a_row_spell_its_text_and_carry_the_mask_of_training():
    tokenizer = family("smollm2-135m")
    conversation = convert(CHAT, 1)
    assert isinstance(conversation, Conversation)
    encoded = encode(conversation, tokenizer, 4096)
    [rendered] = tokenizer.render_many([conversation])

    row = show(RawRow(1, CHAT), tokenizer, 4096)

    assert "".join(token.text for token in row.tokens) == rendered.text
    assert [token.kind == "loss" for token in row.tokens] == encoded.labels_mask
    assert (row.n_loss, row.n_cut, row.problem) == (encoded.n_loss, 0, None)


def test_tokens_beyond_the_limit_are_shown_as_cut():
    tokenizer = family("smollm2-135m")
    whole = show(RawRow(1, CHAT), tokenizer, 4096)

    row = show(RawRow(1, CHAT), tokenizer, len(whole.tokens) - 6)

    assert row.n_cut == 6
    assert [token.kind for token in row.tokens[-6:]] == ["cut"] * 6
    assert row.tokens[:-6] == whole.tokens[:-6]


def test_a_row_whose_answer_is_cut_off_shows_its_tokens_and_the_problem():
    row = show(RawRow(1, CHAT), family("smollm2-135m"), 10)

    assert row.problem is not None
    assert row.problem.code == RowCode.MASK_EMPTY
    assert len(row.tokens) > 10


def test_raw_text_shows_its_end_token():
    row = show(RawRow(1, {"text": "the hill"}), family("smollm2-135m"), 4096)

    assert row.text == "the hill"
    assert [token.text for token in row.tokens][-1] == "<|im_end|>"
    assert {token.kind for token in row.tokens} == {"loss"}


def test_a_page_of_rows_keeps_bad_rows_in_their_place(tmp_path):
    path = write(tmp_path, [CHAT, "{broken", CHAT, {"messages": []}, CHAT])

    page = preview(path, family("smollm2-135m"), 4096, count=4)

    assert [(row.row, row.problem.code if row.problem else None) for row in page.rows] == [
        (1, None),
        (2, RowCode.NOT_JSON),
        (3, None),
        (4, RowCode.FIELD_EMPTY),
    ]
    assert page.detection.layout is Layout.OPENAI


def test_a_later_page_begins_where_it_is_asked_to(tmp_path):
    path = write(tmp_path, [CHAT] * 300)

    page = preview(path, family("smollm2-135m"), 4096, skip=250, count=2)

    assert [row.row for row in page.rows] == [251, 252]


def test_the_first_page_reads_only_the_beginning_of_a_file(tmp_path):
    path = write(tmp_path, [CHAT] * 20_000)
    with path.open("ab") as stream:
        stream.write(b"\xff" * (1 << 22))

    assert [row.row for row in preview(path, family("smollm2-135m"), 4096, count=2).rows] == [1, 2]
