"""The parent's side of a chat against real processes that answer, hang, abort and leave; no model."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import time
from pathlib import Path

import pytest

from backprop_core import platform
from backprop_core.config.chats import ChatMessage, ChatSpec, Finished, Piece, Refused, Sampling
from backprop_core.errors import BackpropagateError, DependencyError, RunError
from backprop_core.services.chats import Asked, ChatPool, reply
from tests.support.fake_chat import SETUP

QUICK = dataclasses.replace(SETUP, load_s=1.0, silence_s=0.5)


def spec(behaviour: str, **changes: object) -> ChatSpec:
    return ChatSpec(engine="gguf", model=behaviour, **changes)


def question(text: str, **sampling: object) -> Asked:
    return Asked([ChatMessage(role="user", content=text)], Sampling(**sampling))


def answer(pool: ChatPool, behaviour: str, text: str = "one two", **sampling: object) -> tuple[str, Finished]:
    told = list(reply(pool, spec(behaviour), "tuned", question(text, **sampling)))
    assert isinstance(told[-1], Finished)
    return "".join(part.text for part in told[:-1]), told[-1]


@pytest.fixture
def pool(tmp_path):
    with contextlib.closing(ChatPool(tmp_path, SETUP)) as made:
        yield made


@pytest.fixture
def quick_pool(tmp_path):
    with contextlib.closing(ChatPool(tmp_path, QUICK)) as made:
        yield made


def wait_until(is_so, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reply_arrives_in_pieces_and_ends(pool):
    text, end = answer(pool, "echo")
    assert text == "tuned: user: one two "
    assert (end.reason, end.tokens, end.prompt_tokens) == ("stop", 4, 4)


def test_the_longest_reply_is_kept_to(pool):
    assert answer(pool, "echo", max_tokens=2)[1].reason == "length"


def test_a_second_reply_finds_the_model_in_memory(pool):
    answer(pool, "echo")
    ready = pool.ready(spec("echo"))
    answer(pool, "echo")
    assert ready is not None
    assert pool.ready(spec("echo")) is ready


def test_a_cancelled_reply_ends_and_the_model_stays(pool):
    asked_at = time.monotonic()
    unwanted = lambda: time.monotonic() - asked_at > 1.0  # noqa: E731
    told = list(reply(pool, spec("slow"), "tuned", question("go"), is_unwanted=unwanted))
    assert told[-1].reason == "cancelled"
    assert pool.ready(spec("slow")) is not None


def test_two_replies_are_written_side_by_side(pool):
    first: queue.SimpleQueue = queue.SimpleQueue()
    second: queue.SimpleQueue = queue.SimpleQueue()
    talks = [
        pool.ask(spec("slow"), side, question("go"), told.put)
        for side, told in (("tuned", first), ("base", second))
    ]
    assert isinstance(first.get(timeout=10), Piece)
    assert isinstance(second.get(timeout=10), Piece)
    for talk in talks:
        talk.cancel()


def test_what_one_reply_cannot_do_ends_that_reply_alone(pool):
    with pytest.raises(BackpropagateError, match="This cannot be asked"):
        answer(pool, "echo", "unspeakable")
    assert answer(pool, "echo")[1].reason == "stop"


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("aborts", r"The engine ended by signal 6"),
        ("aborts-writing", r"The engine ended by signal 6: GGML_ASSERT failed"),
        ("hangs-loading", r"did not load the model within 1 seconds and was ended"),
        ("hangs-writing", r"did not answer within \d seconds and was ended"),
    ],
)
def test_an_engine_that_aborts_or_hangs_is_one_coded_error(quick_pool, behaviour, said):
    with pytest.raises(RunError, match=said) as caught:
        answer(quick_pool, behaviour)
    assert caught.value.code == "RUNTIME_CHAT_FAILED"
    assert answer(quick_pool, "echo")[1].reason == "stop"


def test_an_engine_that_hung_is_gone(quick_pool):
    worker = quick_pool._worker_for(spec("hangs-loading"))
    with pytest.raises(RunError):
        answer(quick_pool, "hangs-loading")
    wait_until(lambda: platform.process_start_token(worker.pid) is None)


def test_a_worker_that_refuses_to_load_says_why(pool):
    with pytest.raises(DependencyError) as caught:
        answer(pool, "refuses")
    assert caught.value.code == "DEP_EXTRA_MISSING"


def test_a_model_that_nobody_asks_frees_its_memory_and_comes_back(pool):
    idle = spec("echo", idle_s=0.3)
    list(reply(pool, idle, "tuned", question("one")))
    worker = pool._workers[idle]
    wait_until(lambda: platform.process_start_token(worker.pid) is None)
    assert list(reply(pool, idle, "tuned", question("one")))[-1].reason == "stop"


def test_a_third_model_takes_the_place_of_the_one_that_was_used_longest_ago(pool):
    for behaviour in ("echo", "slow-1", "echo-2"):
        answer(pool, behaviour)
    assert pool.ready(spec("echo")) is None
    assert pool.ready(spec("slow-1")) is not None


def test_a_third_model_is_refused_while_two_are_answering(pool):
    talks = [pool.ask(spec("slow", idle_s=s), "tuned", question("go"), lambda told: None) for s in (50, 60)]
    with pytest.raises(RunError) as caught:
        answer(pool, "echo")
    assert caught.value.code == "RUNTIME_CHAT_BUSY"
    for talk in talks:
        talk.cancel()


def test_putting_the_models_away_refuses_what_is_open_and_leaves_no_process(tmp_path):
    pool = ChatPool(tmp_path, SETUP)
    told: queue.SimpleQueue = queue.SimpleQueue()
    pool.ask(spec("slow"), "tuned", question("go"), told.put)
    assert isinstance(told.get(timeout=10), Piece)
    pid = pool._workers[spec("slow")].pid
    pool.close()
    last = None
    while not told.empty():
        last = told.get()
    assert isinstance(last, Refused)
    assert platform.process_start_token(pid) is None


def test_the_worker_ends_with_whoever_started_it(tmp_path):
    pool = ChatPool(Path(tmp_path), SETUP)
    answer(pool, "echo")
    worker = pool._workers[spec("echo")]
    # What the end of the parent does to the pipe.
    worker._orders.put(None)
    wait_until(lambda: platform.process_start_token(worker.pid) is None)
    pool.close()
