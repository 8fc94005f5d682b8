"""What OpenAI's clients send becomes a question, and what cannot be done here is said in their shape."""

from __future__ import annotations

import json

import pytest

from backprop_app.api import openai_shapes as shapes
from backprop_core.config.chats import Finished
from backprop_core.errors import DependencyError, InputError, RunError

MESSAGES = [{"role": "user", "content": "Hi"}]


def read(**fields: object) -> shapes.ChatRequest:
    return shapes.read_request(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())


def test_a_plain_request_takes_the_house_s_sampling_but_another_seed_each_time():
    asked = read().asked()
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.max_tokens) == (0.7, 0.9, 512)
    assert asked.sampling.seed is None


def test_the_newer_name_of_the_longest_reply_counts():
    assert read(max_tokens=5, max_completion_tokens=7).asked().sampling.max_tokens == 7


def test_one_stop_or_several():
    assert read(stop="a").asked().sampling.stop == ("a",)
    assert read(stop=["a", "b"]).asked().sampling.stop == ("a", "b")


def test_a_message_in_pieces_is_laid_together_and_a_developer_is_a_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    turns = read(messages=[{"role": "developer", "content": parts}, *MESSAGES]).asked().messages
    assert [(turn.role, turn.content) for turn in turns] == [("system", "ab"), ("user", "Hi")]


def test_thinking_is_asked_for_as_llama_cpp_and_vllm_take_it():
    assert read(chat_template_kwargs={"enable_thinking": True}).asked().enable_thinking
    assert not read().asked().enable_thinking


def test_the_base_has_a_name_of_its_own():
    request = read(model="7f3a:base")
    assert (request.source, request.wants_base) == ("7f3a", True)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_what_cannot_be_done_names_its_field(fields, field):
    with pytest.raises(InputError) as caught:
        read(**fields)
    status, body = shapes.error_body(caught.value)
    assert (status, body["error"]["param"], body["error"]["type"]) == (400, field, "invalid_request_error")


def test_a_value_outside_its_range_names_its_field():
    with pytest.raises(InputError) as caught:
        read(temperature=3).asked()
    assert shapes.error_body(caught.value)[1]["error"]["param"] == "temperature"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("INPUT_RUN_NOT_FOUND", "No."), 404),
        (RunError("RUNTIME_CHAT_BUSY", "No."), 429),
        (DependencyError("DEP_EXTRA_MISSING", "No."), 503),
        (RunError("RUNTIME_CHAT_FAILED", "No."), 500),
    ],
)
def test_each_failure_has_a_status_of_its_own(error, status):
    found, body = shapes.error_body(error)
    assert (found, body["error"]["code"]) == (status, error.code)


def test_the_counts_of_an_answer_add_up():
    end = Finished(id=1, reason="length", prompt_tokens=3, tokens=4, first_token_s=0, seconds=1)
    answer = shapes.whole_answer("x", 1, "m", "text", end)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
