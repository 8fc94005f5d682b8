"""What holds for any row and any text, not only for those somebody thought of."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop_core.datasets.control import ControlTokens
from backprop_core.datasets.convert import convert, layout_if_plain
from backprop_core.datasets.detect import CHAT_COLUMNS, Layout, layout_of
from backprop_core.datasets.mask import Encoded, encode_many
from backprop_core.datasets.operations import Convert
from backprop_core.datasets.rows import Conversation, Message, RowProblem
from backprop_core.datasets.write_rows import row_of
from tests.unit.datasets.families import family

NAMES = [
    *CHAT_COLUMNS,
    "role",
    "from",
    "content",
    "value",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
]
MORE = [
    "question",
    "answer",
    "text",
    "tools",
    "tool_calls",
    "function_call",
    "function",
    "name",
    "arguments",
    "type",
]
WORDS = [
    "user",
    "assistant",
    "gpt",
    "human",
    "system",
    "tool",
    "function_call",
    "[]",
    "{}",
    '[{"role":"user"}]',
    " ",
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, *MORE]), inner, max_size=4)
    ),
    max_leaves=12,
)
rows = st.dictionaries(st.sampled_from([*NAMES, *MORE]) | st.text(max_size=3), values, max_size=5)


@settings(max_examples=120, deadline=None)
@given(row=rows)
def test_any_row_is_a_conversation_or_a_problem_with_a_reason(row):
    found = convert(row, 7)

    assert found.row == 7
    assert isinstance(found, Conversation) or found.reason
    if isinstance(found, RowProblem):
        assert layout_if_plain(row) is None


@settings(max_examples=60, deadline=None)
@given(row=rows)
def test_any_row_has_a_format(row):
    assert layout_of(row) in Layout


@settings(max_examples=60, deadline=None)
@given(row=rows, to=st.sampled_from(["openai", "sharegpt"]))
def test_a_row_that_is_written_and_read_again_says_the_same(row, to):
    first = convert(row, 1)
    if isinstance(first, RowProblem):
        return

    second = convert(orjson.loads(row_of(first, Convert(to).to)), 1)

    assert isinstance(second, Conversation)
    assert second.text == first.text
    assert [message.content for message in second.messages if message.content] == [
        message.content for message in first.messages if message.content
    ]


PIECES = st.sampled_from(
    [
        "a",
        "Hello",
        " ",
        "\n",
        "\n\n",
        "\t",
        "  ",
        "the hell",
        "é",
        "🐦‍⬛",
        "東京",
        "<",
        "|",
        "<|im_end|>",
        "<|im_start|>",
        "<|eot_id|>",
        "</s>",
        "[INST]",
        "[/INST]",
        "<|end|>",
        "assistant",
        "user\n",
        "{{ x }}",
        "{% if %}",
        "\ufdd0",
        "\u00a0",
        "\u200b",
    ]
)
texts = st.lists(PIECES, min_size=1, max_size=6).map("".join).filter(lambda text: text.strip())
FAMILIES = {
    name: family(name)
    for name in (
        "qwen3.5-4b",
        "phi-4-mini-3.8b",
        "smollm3-3b",
        "qwen2.5-7b",
        "llama-3.2-3b",
        "mistral-7b",
        "smollm2-135m",
    )
}


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(exchanges=st.lists(st.tuples(texts, texts), min_size=1, max_size=3), system=st.none() | texts)
def test_for_any_texts_each_answer_carries_loss_once_and_ends_with_the_end_token(name, exchanges, system):
    tokenizer = FAMILIES[name]
    messages = [Message("system", system)] if system else []
    for asked, answered in exchanges:
        messages += [Message("user", asked), Message("assistant", answered)]

    [encoded] = encode_many([Conversation(tuple(messages), 1)], tokenizer, 10_000)

    assert isinstance(encoded, Encoded)
    answers = [span for span in encoded.spans if span.role == "assistant"]
    assert len(answers) == len(exchanges)
    assert encoded.n_loss == sum(span.end - span.start for span in answers)
    for (_, answered), span in zip(exchanges, answers, strict=True):
        said = tokenizer.decode(encoded.input_ids[span.start : span.end])
        expected, _ = ControlTokens(tokenizer.setup.control_tokens).neutralize(answered)
        assert said.endswith(tokenizer.shape.end)
        assert said.count(tokenizer.shape.end) == 1
        # The first line end may have become one token with the header; nothing else is missing.
        assert said.removesuffix(tokenizer.shape.end).strip() == expected.strip()
