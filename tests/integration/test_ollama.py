"""Registering with a server that keeps Ollama's protocol over real sockets, well-behaved and not."""

from __future__ import annotations

import os
import socket

import pytest

from backprop_core.errors import BackpropagateError
from backprop_core.gguf import check_gguf, export_gguf
from backprop_core.ollama import OllamaClient, register
from backprop_core.ollama.client import Timeouts
from tests.support.checkpoints import write_checkpoint
from tests.support.fake_ollama import running_ollama

IMPATIENT = Timeouts(connect_s=1, answer_s=0.8, work_s=0.8)


@pytest.fixture
def model(tmp_path):
    folder = write_checkpoint(tmp_path / "m")
    (folder / "chat_template.jinja").write_text("<|im_start|>{{ messages[0]['role'] }}<|im_end|>")
    export_gguf(folder, tmp_path / "my-model.gguf", "f16")
    return check_gguf(tmp_path / "my-model.gguf")


def test_file_becomes_a_model_that_answers(model):
    with running_ollama() as server, OllamaClient(server.url) as client:
        found = register(model, "my-model", client, system="Be brief.", trained_tokens=128)
    (body,) = server.models.values()
    assert server.blobs[body["files"]["my-model.gguf"]] == model.path.read_bytes()
    assert body["system"] == "Be brief."
    assert body["parameters"] == {"num_ctx": 256}
    assert "template" not in body
    assert (found.reply, found.server_version, found.warnings) == ("Hello!", "0.32.1", ())


def test_old_server_is_told_template_and_stops(model):
    with running_ollama(version="0.17.4") as server, OllamaClient(server.url) as client:
        register(model, "my-model", client)
    body = server.models["my-model"]
    assert "<|im_start|>{{ .Role }}" in body["template"]
    assert body["parameters"] == {"stop": ["<|im_start|>", "<|im_end|>"]}


def test_server_that_reads_hostile_files_unsafely_is_warned_of(model):
    with running_ollama(version="0.16.0") as server, OllamaClient(server.url) as client:
        found = register(model, "my-model", client)
    assert found.warnings == ("Ollama 0.16.0 reads hostile model files unsafely; update it.",)


def test_adapter_is_sent_beside_its_base(model, tmp_path):
    (tmp_path / "lora.gguf").write_bytes(model.path.read_bytes() + bytes(32))
    with running_ollama() as server, OllamaClient(server.url) as client:
        register(model, "my-model", client, adapter=check_gguf(tmp_path / "lora.gguf"))
    assert set(server.models["my-model"]["adapters"]) == {"lora.gguf"}


def test_file_that_the_server_holds_is_not_sent_again(model):
    with running_ollama() as server, OllamaClient(server.url) as client:
        register(model, "one", client)
        register(model, "two", client)
    assert sum(line.startswith("POST /api/blobs/") for line in server.asked) == 1
    assert set(server.models) == {"one", "two"}


def test_progress_goes_through_every_phase(model):
    seen = []
    with running_ollama() as server, OllamaClient(server.url) as client:
        register(model, "my-model", client, progress=lambda *step: seen.append(step))
    assert list(dict.fromkeys(phase for *_, phase in seen)) == ["hashing", "uploading", "creating", "testing"]
    assert (model.size_bytes, model.size_bytes, "uploading") in seen


def test_models_are_listed_and_removed(model):
    with running_ollama() as server, OllamaClient(server.url) as client:
        register(model, "my-model", client)
        assert [entry.name for entry in client.list_models()] == ["my-model:latest"]
        client.remove("my-model")
        assert client.list_models() == []


FAULTS = {
    "hangs": "did not answer in time",
    "answers 500": "answered 500: llama runner process has terminated",
    "dies in upload": "the connection broke off",
    "corrupts the upload": "answered 400: digest mismatch",
    "dies in create": "the connection broke off",
    "hangs in create": "did not answer in time",
    "refuses in the stream": "it refused: unsupported architecture",
    "ends create without success": "broke off before the model was made",
    "refuses to chat": "answered 500: unable to load model",
    "speaks no JSON": "is not JSON",
    "redirects": "answered 302",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_the_file_is_kept_and_a_retry_works(fault, model):
    before = model.path.read_bytes()
    with running_ollama(fault=fault) as server, OllamaClient(server.url, timeouts=IMPATIENT) as client:
        with pytest.raises(BackpropagateError, match=FAULTS[fault]) as caught:
            register(model, "my-model", client)
        assert caught.value.code == "DEP_OLLAMA_REGISTRATION_FAILED"
        assert caught.value.retryable
        assert model.path.read_bytes() == before
        server.released.set()
        server.fault = ""
        with OllamaClient(server.url) as patient:
            assert register(model, "my-model", patient).reply == "Hello!"


def test_absent_server_is_named(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with (
        OllamaClient(url) as client,
        pytest.raises(BackpropagateError, match="nobody listens there") as caught,
    ):
        register(model, "my-model", client)
    assert caught.value.code == "DEP_OLLAMA_REGISTRATION_FAILED"


def test_bad_name_is_refused_before_the_server_is_asked(model):
    with running_ollama() as server, OllamaClient(server.url) as client:
        with pytest.raises(BackpropagateError, match="is no Ollama model name"):
            register(model, "--help", client)
        assert server.asked == []


def test_cancelled_upload_leaves_the_server_without_the_file(model):
    answers = iter([False, True])
    with running_ollama() as server, OllamaClient(server.url) as client:
        with pytest.raises(BackpropagateError) as caught:
            register(model, "my-model", client, should_cancel=lambda: next(answers, True))
        assert caught.value.code == "RUNTIME_EXPORT_CANCELLED"
        assert server.blobs == {}


def test_proxy_of_the_environment_is_not_used(model, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with running_ollama() as server, OllamaClient(server.url) as client:
        assert client.version() == "0.32.1"


def test_secrets_in_an_answer_are_masked(model):
    with running_ollama() as server, OllamaClient(server.url) as client:
        error = client.failed("token=hf_abcdefgh12345678 was refused")
    assert "hf_abcdefgh12345678" not in str(error)
    assert server.asked == []


@pytest.mark.skipif(not os.environ.get("OLLAMA_HOST"), reason="asks a real Ollama")
def test_real_ollama_takes_the_model(model):
    with OllamaClient() as client:
        register(model, "backpropagate-live-test", client, tries_chat=False)
        client.remove("backpropagate-live-test")
