"""Rows, micro-batches, attention by document and the chunked head, against plain formulas."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from backprop_core.datasets.convert import convert
from backprop_core.datasets.mask import encode
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine import attention, heads
from backprop_core.engine.collating import Row, concatenated, padded

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tiny_model):
    loaded = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return loaded.eval()


def encoded(folder, asked, answered):
    row = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}
    return encode(convert(row, 1), ChatTokenizer.load(folder), 512)


def test_the_supervised_tokens_of_a_batch_are_those_of_the_mask_view(tutorial_model):
    views = [
        encoded(tutorial_model, "Hi", "Hello there."),
        encoded(tutorial_model, "Bye", "See you soon, friend."),
    ]
    batch = concatenated([Row.from_mask(view.input_ids, view.labels_mask) for view in views], CPU)
    shown = [
        token
        for view in views
        for token, has_loss in zip(view.input_ids, view.labels_mask, strict=True)
        if has_loss
    ]
    assert batch.targets.tolist() == shown
    assert batch.input_ids[0, batch.sources + 1].tolist() == shown


def test_the_end_of_turn_token_carries_loss_although_it_is_the_pad_token(tutorial_model):
    view = encoded(tutorial_model, "Hi", "Hello.")
    row = Row.from_mask(view.input_ids, view.labels_mask)
    assert row.ids[row.sources + 1].tolist()[-1] == 2


def test_padding_carries_no_loss():
    rows = [Row.from_mask([5, 6, 7, 8], [False, False, True, True]), Row.from_mask([9, 10], [False, True])]
    batch = padded(rows, 2, CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [9, 10, 2, 2]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.targets.tolist() == [7, 8, 10]
    assert batch.sources.tolist() == [1, 2, 4]


def test_documents_in_one_row_keep_their_own_positions():
    rows = [Row.from_mask([5, 6, 7], [True] * 3), Row.from_mask([8, 9], [True] * 2)]
    batch = concatenated(rows, CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.lengths == (3, 2)


def test_a_document_sees_nothing_of_its_neighbours(model):
    assert attention.use_documents(model)
    first, second = torch.arange(10, 40), torch.arange(100, 120)
    together = torch.cat([first, second])[None]
    positions = torch.cat([torch.arange(30), torch.arange(20)])[None]
    with torch.no_grad():
        packed = model(
            input_ids=together, position_ids=positions, use_cache=False, document_lengths=(30, 20)
        ).logits
        alone = model(input_ids=second[None], use_cache=False, document_lengths=(20,)).logits
    assert torch.allclose(packed[:, 30:], alone, atol=1e-5)


def test_a_model_that_mixes_documents_is_found_out(model, monkeypatch):
    def mixing(module, query, key, value, attention_mask, *, document_lengths=None, **rest):
        return attention.attend(module, query, key, value, attention_mask, **rest)

    monkeypatch.setitem(attention.AttentionInterface._global_mapping, attention.NAME, mixing)
    model.set_attn_implementation("sdpa")
    assert not attention.use_documents(model)
    assert model.config._attn_implementation == "sdpa"


def test_a_sliding_window_hides_what_lies_before_it():
    query = torch.randn(1, 2, 6, 8)
    value = torch.randn(1, 2, 6, 8)
    out, _ = attention.attend(torch.nn.Identity(), query, query, value, None, sliding_window=1)
    assert torch.allclose(out, value.transpose(1, 2), atol=1e-6)


def test_the_chunked_loss_and_its_gradients_are_those_of_cross_entropy():
    torch.manual_seed(0)
    hidden = torch.randn(600, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 50, (600,))
    expected = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    wanted = torch.autograd.grad(expected, (hidden, weight))
    found = heads.summed_loss(hidden, weight, targets)
    got = torch.autograd.grad(found, (hidden, weight))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(got[0], wanted[0], atol=1e-5)
    assert torch.allclose(got[1], wanted[1], atol=1e-4)


def test_a_head_that_caps_its_logits_is_not_taken_for_a_plain_one(model):
    assert heads.has_plain_head(model)
    model.config.final_logit_softcapping = 30.0
    try:
        assert not heads.has_plain_head(model)
    finally:
        del model.config.final_logit_softcapping
