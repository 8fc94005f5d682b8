"""`backprop generate` and `backprop chat` over workers that hold no model, and `backpropagate.generate`."""

from __future__ import annotations

import functools
import io
import json
import os
import signal
import sys
import threading

import pytest

import backpropagate
from backprop_core.config.chats import ChatSpec
from backprop_core.services import chat_sources, chats
from backprop_core.services.chat_sources import ChatSource
from backpropagate import chatting
from tests.support.exports import list_adapter_run, write_source
from tests.support.fake_chat import SETUP


@pytest.fixture(autouse=True)
def pools(monkeypatch):
    pool = functools.partial(chats.ChatPool, setup=SETUP)
    monkeypatch.setattr(chats, "ChatPool", pool)
    monkeypatch.setattr(chatting, "ChatPool", pool)


@pytest.fixture
def run_id(ws, tmp_path):
    return list_adapter_run(ws, write_source(tmp_path))


@pytest.fixture
def typed(monkeypatch):
    def type_lines(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return type_lines


@pytest.fixture
def behaves(monkeypatch):
    def choose(behaviour: str) -> None:
        source = ChatSource("m", "m", "q8_0", ChatSpec(engine="gguf", model=behaviour), None)
        monkeypatch.setattr(chat_sources, "find_chat", lambda *arguments, **options: source)

    return choose


def press_ctrl_c(after_s: float) -> None:
    threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_generate_writes_the_reply_and_nothing_else_to_standard_output(backprop, run_id):
    code, out, err = backprop("generate", run_id[:8], "one two", "--system", "Be short.")
    assert (code, out) == (0, "tuned: system: Be short. user: one two \n")
    assert "loading facts" in err


def test_generate_with_the_base_shows_both(backprop, run_id):
    _, out, _ = backprop("generate", run_id, "one", "--base")
    assert out == "tuned:\ntuned: user: one \n\nbase:\nbase: user: one \n"


def test_generate_as_json_tells_how_each_reply_ended(backprop, run_id):
    _, out, _ = backprop("generate", run_id, "one two three", "--base", "--json", "--max-tokens", "3")
    told = json.loads(out)
    assert told["schema_version"] == 1
    assert told["generate"]["replies"]["base"]["text"] == "base: user: one "
    assert told["generate"]["replies"]["tuned"]["reason"] == "length"


def test_generate_reads_the_prompt_from_standard_input(backprop, run_id, typed):
    typed("from a pipe")
    assert backprop("generate", run_id, "-")[1] == "tuned: user: from a pipe \n"


def test_ctrl_c_ends_the_reply_and_exits_with_130(backprop, behaves):
    behaves("slow")
    press_ctrl_c(1.0)
    code, out, _ = backprop("generate", "m", "go")
    assert code == 130
    assert out.startswith("on on ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("deadbeef", "x"), "[INPUT_RUN_NOT_FOUND]"),
        (("./nothing.gguf", "x"), "[INPUT_MODEL_NOT_FOUND]"),
        (("RUN", " "), "The prompt is empty"),
        (("RUN", "x", "--temperature", "9"), "temperature cannot be 9.0"),
        (("RUN", "x", "--top-k", "-1"), "top_k cannot be -1"),
    ],
)
def test_what_cannot_be_asked_is_said_with_its_code(backprop, run_id, arguments, said):
    code, out, err = backprop("generate", *(run_id if word == "RUN" else word for word in arguments))
    assert (code, out) == (1, "")
    assert said in err


def test_a_missing_extra_is_said_with_exit_2(backprop, behaves):
    behaves("refuses")
    code, _, err = backprop("generate", "m", "x")
    assert code == 2
    assert "[DEP_EXTRA_MISSING]" in err


def test_a_base_that_is_not_known_is_said(backprop, behaves):
    behaves("echo")
    code, _, err = backprop("generate", "m", "x", "--base")
    assert code == 1
    assert "The base model of m is not known" in err


def test_chat_remembers_until_a_new_conversation_and_leaves_at_exit(backprop, run_id, typed):
    typed("one", "", "two", "/new", "three", "/exit", "four")
    code, out, _ = backprop("chat", run_id)
    assert code == 0
    assert out.splitlines() == [
        "tuned: user: one ",
        "tuned: user: one assistant: tuned: user: one user: two ",
        "tuned: user: three ",
    ]


def test_ctrl_c_ends_a_reply_and_the_chat_goes_on(backprop, behaves, typed):
    behaves("slow")
    typed("go")
    press_ctrl_c(1.0)
    code, out, _ = backprop("chat", "m")
    assert code == 0
    assert out.startswith("on on ")


def test_chat_outlives_an_engine_that_aborts(backprop, behaves, typed):
    behaves("aborts-writing")
    typed("one", "two")
    code, _, err = backprop("chat", "m")
    assert code == 0
    assert err.count("[RUNTIME_CHAT_FAILED]") == 2


def test_python_asks_tuned_and_base(run_id):
    assert backpropagate.generate(run_id, "one") == "tuned: user: one "
    assert backpropagate.generate(run_id, "one", base=True, max_tokens=2) == "base: user: "
