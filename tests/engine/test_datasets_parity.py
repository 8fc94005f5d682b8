"""Ids and masks equal what transformers computes for the tutorial model."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from backprop_core.datasets.convert import convert
from backprop_core.datasets.mask import encode
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rows import Conversation, Message
from backprop_core.datasets.template import as_dict
from backprop_core.datasets.tokenizer import ChatTokenizer
from tests.support.models import tutorial_model_dir

EXAMPLES = Path(__file__).parents[2] / "examples"
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRICKY = [
    "plain",
    " leading and trailing ",
    "\n\nnew lines\n\n\n",
    "tabs\tand\r\ncarriage returns",
    "Zürich, 東京, 🐦‍⬛🇵🇹, ﷽, e\u0301",
    "1234567890.50 %",
    "non-breaking\u00a0space and zero\u200bwidth",
    "`code` <tag> {{ braces }} {% block %}",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    return tutorial_model_dir()


@pytest.fixture(scope="module")
def theirs(folder):
    return AutoTokenizer.from_pretrained(folder)


def example_rows() -> list[Conversation]:
    rows = []
    for name in ("quickstart.jsonl", "support.heldout.jsonl"):
        for raw in read_rows(EXAMPLES / name):
            converted = convert(raw.value, raw.row)
            assert isinstance(converted, Conversation)
            rows.append(converted)
    return rows


def tricky_rows() -> list[Conversation]:
    return [
        Conversation(
            (
                Message("user", asked),
                Message("assistant", said),
                Message("user", said),
                Message("assistant", asked),
            ),
            1,
        )
        for asked in TRICKY
        for said in TRICKY
    ]


def test_ids_equal_those_of_transformers(folder, theirs):
    ours = ChatTokenizer.load(folder)

    for conversation in example_rows() + tricky_rows():
        turns = [as_dict(message) for message in conversation.messages]
        expected = theirs.apply_chat_template(turns, tokenize=True, return_dict=True)["input_ids"]
        assert encode(conversation, ours, 10_000).input_ids == expected


def test_masks_equal_those_of_transformers_for_a_template_with_generation_blocks(folder, theirs):
    ours = ChatTokenizer.load(folder, template=MARKED)

    for conversation in example_rows():
        turns = [as_dict(message) for message in conversation.messages]
        expected = theirs.apply_chat_template(
            turns, chat_template=MARKED, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        encoded = encode(conversation, ours, 10_000)
        assert encoded.input_ids == expected["input_ids"]
        assert [int(is_loss) for is_loss in encoded.labels_mask] == expected["assistant_masks"]


def test_masks_are_the_same_without_generation_blocks(folder):
    plain_source = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    marked = ChatTokenizer.load(folder, template=MARKED)
    plain = ChatTokenizer.load(folder, template=plain_source)

    for conversation in example_rows() + tricky_rows():
        ours, other = (encode(conversation, tokenizer, 10_000) for tokenizer in (plain, marked))
        assert (ours.input_ids, ours.labels_mask) == (other.input_ids, other.labels_mask)


def test_the_model_folder_says_where_its_turns_end(folder):
    tokenizer = ChatTokenizer.load(folder)

    assert tokenizer.template_origin == "model"
    assert tokenizer.shape.end == "<|im_end|>"
    assert tokenizer.end_of_turn_id == tokenizer.eos_id == 2


def test_plain_texts_give_the_ids_of_transformers(folder, theirs):
    ours = ChatTokenizer.load(folder)

    for text in [*TRICKY, "<|im_start|>x<|im_end|>", "<filename>a</filename>"]:
        assert ours.encode_text(text) == theirs(text, add_special_tokens=False)["input_ids"]
