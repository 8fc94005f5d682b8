"""The official OpenAI client against the routes behind the gate, over real sockets; the workers hold no model."""

from __future__ import annotations

import os
import time
from pathlib import Path

import httpx
import openai
import pytest

from backprop_app.api import openai as api
from backprop_app.api.routes import create_api
from backprop_app.runtime import Runtime
from backprop_app.security.gate import Gate
from backprop_app.security.rules import Policy
from backprop_core.config.chats import ChatSpec
from backprop_core.jobs.follower import Follower
from backprop_core.services.access import create_token
from backprop_core.services.chat_sources import ChatSource
from backprop_core.services.chats import MAX_REPLIES, ChatPool
from backprop_core.telemetry.sampler import Sampler
from backprop_core.workspace import Workspace
from tests.support.asgi_server import running
from tests.support.exports import IdleLauncher, list_adapter_run, write_source
from tests.support.fake_chat import SETUP
from tests.support.logins import access_at

ASKED = [{"role": "user", "content": "one two"}]


@pytest.fixture
def ws():
    ws = Workspace.open(IdleLauncher())
    ws.sandbox.prepare()
    yield ws
    ws.close()


@pytest.fixture
def runtime(ws, monkeypatch):
    made = Runtime(ws, Follower(ws), Sampler(), ChatPool(ws.home, SETUP))
    monkeypatch.setattr(api, "current", lambda: made)
    yield made
    made.chats.close()


@pytest.fixture
def port(runtime):
    with running(Gate(create_api(), Policy())) as port:
        yield port


@pytest.fixture
def client(port):
    with openai.OpenAI(
        base_url=f"http://localhost:{port}/v1", api_key="none", max_retries=0, timeout=60
    ) as client:
        yield client


@pytest.fixture
def run_id(ws, tmp_path):
    return list_adapter_run(ws, write_source(tmp_path))


@pytest.fixture
def behaves(monkeypatch):
    """Make every model one whose worker behaves so."""

    def choose(behaviour: str) -> None:
        source = ChatSource("m", "m", "q8_0", ChatSpec(engine="gguf", model=behaviour), None)
        monkeypatch.setattr(api, "find_chat", lambda *arguments, **options: source)

    return choose


def test_the_models_are_the_runs_and_their_bases(client, run_id):
    assert [model.id for model in client.models.list()] == [run_id, f"{run_id}:base"]
    assert client.models.retrieve(run_id).owned_by == "backpropagate"


def test_a_whole_reply(client, run_id):
    answer = client.chat.completions.create(model=run_id, messages=ASKED)
    assert answer.choices[0].message.content == "tuned: user: one two "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 8


def test_a_unique_beginning_of_the_id_and_the_base_side(client, run_id):
    answer = client.chat.completions.create(model=f"{run_id[:8]}:base", messages=ASKED)
    assert answer.choices[0].message.content == "base: user: one two "


def test_a_streamed_reply_with_its_counts(client, run_id):
    events = list(
        client.chat.completions.create(
            model=run_id, messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    words = [choice.delta.content for event in events for choice in event.choices]
    assert words == ["", "tuned: ", "user: ", "one ", "two ", None]
    assert events[-2].choices[0].finish_reason == "stop"
    assert events[-1].usage.completion_tokens == 4


def test_the_longest_reply_ends_with_length(client, run_id):
    answer = client.chat.completions.create(model=run_id, messages=ASKED, max_tokens=2)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("tuned: user: ", "length")


def test_a_model_that_is_not_here_is_a_404(client, run_id):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="deadbeef", messages=ASKED)
    assert caught.value.code == "INPUT_RUN_NOT_FOUND"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("deadbeef")


def test_a_path_outside_of_the_app_s_folders_is_refused(client, run_id):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="/etc/passwd.gguf", messages=ASKED)
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"


def test_a_value_outside_its_range_is_a_400_that_names_it(client, run_id):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=run_id, messages=ASKED, temperature=9)
    assert (caught.value.param, caught.value.type) == ("temperature", "invalid_request_error")


def test_an_engine_that_aborts_is_a_500_and_the_next_question_is_answered(client, behaves, run_id):
    behaves("aborts")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=ASKED)
    assert caught.value.code == "RUNTIME_CHAT_FAILED"
    behaves("echo")
    assert client.chat.completions.create(model="m", messages=ASKED).choices[0].finish_reason == "stop"


def test_an_engine_that_aborts_in_the_middle_of_a_stream_is_said_in_the_stream(client, behaves):
    behaves("aborts-writing")
    with pytest.raises(openai.APIError, match="The engine ended by signal 6"):
        list(client.chat.completions.create(model="m", messages=ASKED, stream=True))


def test_a_missing_extra_is_a_503_with_its_name(client, behaves):
    behaves("refuses")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=ASKED)
    assert (caught.value.status_code, caught.value.code) == (503, "DEP_EXTRA_MISSING")


def test_who_hangs_up_ends_the_reply(client, behaves, runtime):
    behaves("slow")
    stream = client.chat.completions.create(model="m", messages=ASKED, stream=True)
    next(iter(stream))
    stream.close()
    worker = runtime.chats._workers[ChatSpec(engine="gguf", model="slow")]
    deadline = time.monotonic() + 10
    while worker.open_replies:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_too_many_replies_at_once_are_a_429(client, behaves):
    behaves("slow")
    streams = [
        client.chat.completions.create(model="m", messages=ASKED, stream=True) for _ in range(MAX_REPLIES)
    ]
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m", messages=ASKED)
    for stream in streams:
        stream.close()


def test_with_a_login_a_token_opens_it_and_nothing_else_does(runtime, run_id):
    home = Path(os.environ["BACKPROPAGATE_HOME"])
    access = access_at(home)
    _, secret = create_token(home, "assistant")
    with running(Gate(create_api(), Policy(require_session=True), access=access)) as port:
        url = f"http://localhost:{port}/v1"
        with openai.OpenAI(base_url=url, api_key=secret, max_retries=0) as client:
            assert client.chat.completions.create(model=run_id, messages=ASKED).usage.total_tokens == 8
        with (
            openai.OpenAI(base_url=url, api_key="bp_wrong", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError),
        ):
            stranger.models.list()
        assert httpx.post(f"{url}/chat/completions", json={}, trust_env=False).status_code == 401


def test_another_site_cannot_ask(port, run_id):
    body = {"model": run_id, "messages": ASKED}
    answer = httpx.post(
        f"http://localhost:{port}/v1/chat/completions",
        json=body,
        headers={"origin": "https://evil.example"},
        trust_env=False,
    )
    assert answer.status_code == 403
