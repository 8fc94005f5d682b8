"""Rows of every format become the same conversation; what is wrong with a row is said in one sentence."""

from __future__ import annotations

import json

import pytest

from backprop_core.datasets.convert import ColumnMap, convert
from backprop_core.datasets.rows import Conversation, Message, RowCode, RowProblem, ToolCall

HI = (Message("user", "Hi"), Message("assistant", "Hello!"))
BRIEF = (Message("system", "Be brief."), *HI)


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]},
        {"conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]},
        {"messages": [{"role": "User", "content": "Hi"}, {"role": " Model ", "content": "Hello!"}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
                {"role": "assistant", "content": "Hello!"},
            ]
        },
        {
            "messages": json.dumps(
                [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
            )
        },
        {"instruction": "Hi", "input": "", "output": "Hello!"},
        {"instruction": "Hi", "input": None, "output": "Hello!"},
        {"instruction": "Hi", "response": "Hello!"},
        {"prompt": "Hi", "completion": "Hello!"},
        {"input": "Hi", "output": "Hello!"},
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "completion": [{"role": "assistant", "content": "Hello!"}],
        },
        {"question": "Hi", "answer": "Hello!"},
    ],
)
def test_each_format_becomes_the_same_conversation(row):
    assert convert(row, 5) == Conversation(HI, 5)


@pytest.mark.parametrize(
    "row",
    [
        {"system": "Be brief.", "prompt": "Hi", "completion": "Hello!"},
        {"system_prompt": "Be brief.", "question": "Hi", "answer": "Hello!"},
        {
            "system": "Be brief.",
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}],
        },
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello!"},
            ]
        },
    ],
)
def test_a_system_text_becomes_the_first_turn(row):
    assert convert(row, 5) == Conversation(BRIEF, 5)


def test_alpaca_input_follows_the_instruction_after_a_blank_line():
    converted = convert({"instruction": "Sum up.", "input": "Long text.", "output": "Text."}, 1)

    assert isinstance(converted, Conversation)
    assert converted.messages[0].content == "Sum up.\n\nLong text."


def test_raw_text_stays_raw():
    assert convert({"text": "Once upon a time"}, 2) == Conversation((), 2, text="Once upon a time")


def test_blanks_around_a_text_are_kept():
    converted = convert({"prompt": " Hi\n", "completion": "\tHello! "}, 1)

    assert isinstance(converted, Conversation)
    assert [message.content for message in converted.messages] == [" Hi\n", "\tHello! "]


def test_openai_tool_calls_and_results_are_kept():
    row = {
        "messages": [
            {"role": "user", "content": "Rain?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "content": "dry", "tool_call_id": "c1", "name": "weather"},
            {"role": "assistant", "content": "No.", "weight": 0},
        ],
        "tools": [{"name": "weather", "parameters": {"type": "object"}}],
    }

    assert convert(row, 1) == Conversation(
        (
            Message("user", "Rain?"),
            Message("assistant", "", tool_calls=(ToolCall("weather", {"city": "Oslo"}, "c1"),)),
            Message("tool", "dry", name="weather", tool_call_id="c1"),
            Message("assistant", "No.", trains=False),
        ),
        1,
        ({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},),
    )


def test_sharegpt_function_calls_become_tool_calls():
    row = {
        "conversations": [
            {"from": "human", "value": "Rain?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
            {"from": "observation", "value": "dry"},
            {"from": "gpt", "value": "No."},
        ]
    }

    converted = convert(row, 1)

    assert isinstance(converted, Conversation)
    assert converted.messages[1] == Message(
        "assistant", "", tool_calls=(ToolCall("weather", {"city": "Oslo"}),)
    )
    assert converted.messages[2] == Message("tool", "dry")


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.mark.parametrize(
    ("row", "code", "reason"),
    [
        ({"messages": None}, RowCode.FIELD_NULL, "`messages` is null"),
        ({"messages": []}, RowCode.FIELD_EMPTY, "`messages` has no turns"),
        ({"messages": "hello"}, RowCode.FIELD_TYPE, "`messages` is not a list of turns"),
        ({"messages": ["hello"]}, RowCode.FIELD_TYPE, "turn 1 of `messages` is not an object"),
        (
            {"messages": [{"content": "x"}]},
            RowCode.FIELD_MISSING,
            "turn 1 of `messages` does not say who speaks",
        ),
        (
            chat(("user", "Hi"), ("asistant", "x")),
            RowCode.ROLE_UNKNOWN,
            "turn 2 of `messages` has the unknown role 'asistant'",
        ),
        (chat((7, "Hi")), RowCode.ROLE_UNKNOWN, "turn 1 of `messages` has the unknown role '7'"),
        (
            chat(("user", "Hi"), ("assistant", None)),
            RowCode.FIELD_NULL,
            "turn 2 of `messages` has no content (null)",
        ),
        (
            chat(("user", " \n"), ("assistant", "x")),
            RowCode.FIELD_EMPTY,
            "the content of turn 1 of `messages` is empty",
        ),
        (
            chat(("user", 5), ("assistant", "x")),
            RowCode.FIELD_TYPE,
            "the content of turn 1 of `messages` is not text",
        ),
        (chat(("user", "Hi")), RowCode.NO_ASSISTANT, "no assistant turn: there is nothing to learn from"),
        (
            chat(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "x")),
            RowCode.MEDIA,
            "turn 1 of `messages` holds 'image_url'; only text can be trained on",
        ),
        ({"prompt": "Hi", "completion": None}, RowCode.FIELD_NULL, "`completion` has no content (null)"),
        ({"question": "Hi", "answer": ""}, RowCode.FIELD_EMPTY, "the content of `answer` is empty"),
        ({"text": None}, RowCode.FIELD_NULL, "`text` has no content (null)"),
        ({"instruction": None, "output": "x"}, RowCode.FIELD_NULL, "`instruction` has no content (null)"),
        (
            {"foo": 1, "bar": 2},
            RowCode.LAYOUT_UNKNOWN,
            "`foo`, `bar`: not the columns of a known format",
        ),
        ({}, RowCode.LAYOUT_UNKNOWN, "no columns: not the columns of a known format"),
    ],
)
def test_what_is_wrong_with_a_row_is_named(row, code, reason):
    assert convert(row, 9) == RowProblem(9, code, reason)


@pytest.mark.parametrize(
    ("calls", "code"),
    [
        ([{"function": {"arguments": "{}"}}], RowCode.FIELD_MISSING),
        ([{"function": {"name": "f", "arguments": "{broken"}}], RowCode.NOT_JSON),
        ([{"function": {"name": "f", "arguments": "[1]"}}], RowCode.FIELD_TYPE),
        ("f()", RowCode.FIELD_TYPE),
    ],
)
def test_a_broken_tool_call_is_named(calls, code):
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": calls}]}

    converted = convert(row, 1)

    assert isinstance(converted, RowProblem)
    assert converted.code == code


def test_arguments_that_nest_too_deep_are_named():
    deep: dict[str, object] = {}
    for _ in range(70):
        deep = {"a": deep}
    row = {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": deep}}]},
        ]
    }

    converted = convert(row, 1)

    assert isinstance(converted, RowProblem)
    assert converted.code == RowCode.TOO_DEEP


@pytest.mark.parametrize(
    ("row", "mapping", "expected"),
    [
        ({"q1": "Hi", "a1": "Hello!"}, ColumnMap(prompt="q1", completion="a1"), HI),
        (
            {"q1": "Hi", "a1": "Hello!", "s": "Be brief."},
            ColumnMap(prompt="q1", completion="a1", system="s"),
            BRIEF,
        ),
        ({"log": chat(("user", "Hi"), ("assistant", "Hello!"))["messages"]}, ColumnMap(chat="log"), HI),
    ],
)
def test_columns_can_be_named_by_hand(row, mapping, expected):
    assert convert(row, 1, mapping) == Conversation(expected, 1)


def test_a_text_column_can_be_named_by_hand():
    assert convert({"story": "Once"}, 1, ColumnMap(text="story")) == Conversation((), 1, text="Once")


def test_a_column_named_by_hand_that_is_missing_is_a_fault_of_the_row():
    converted = convert({"a": "x"}, 1, ColumnMap(prompt="nope", completion="a"))

    assert converted == RowProblem(1, RowCode.FIELD_NULL, "`prompt` has no content (null)")
