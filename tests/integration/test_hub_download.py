"""The real hub library against a hub on a local port: what is fetched, what is sent, what is said when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_server import COMMIT, FakeHub, FakeRepository, serving
from tests.support.safetensors_bytes import safetensors_bytes

RESOLVE = """
import json, sys
from pathlib import Path
from backprop_core.errors import BackpropagateError
from backprop_core.hub.download import resolve_model

calls = []
try:
    model = resolve_model(sys.argv[1], cache_dir=Path(sys.argv[2]), progress=lambda *call: calls.append(call))
    answer = {"id": model.id, "path": str(model.path), "source": model.source, "revision": model.revision,
              "licence": model.licence, "calls": calls, "torch": "torch" in sys.modules}
except BackpropagateError as error:
    answer = {"code": error.code, "message": error.message, "hint": error.hint}
print(json.dumps(answer))
"""
NAME = "acme/small-chat"


def repository(**extra: object) -> FakeRepository:
    files = {
        "config.json": b'{"model_type":"llama"}',
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{}",
        "model.safetensors": safetensors_bytes(200_000),
        "README.md": b"card",
        "modeling_small.py": b"import os",
        "pytorch_model.bin": b"pickle",
        "consolidated.safetensors": safetensors_bytes(),
        "onnx/model.json": b"{}",
    }
    return FakeRepository(files=files, **extra)


@pytest.fixture
def hub():
    with serving(FakeHub({NAME: repository()})) as running:
        yield running


@pytest.fixture
def resolve(hub, tmp_path):
    def run(name: str = NAME, **env: str) -> dict:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **env,
        }
        environment.pop("HF_HUB_CACHE", None)
        done = subprocess.run(
            [sys.executable, "-c", RESOLVE, name, str(tmp_path / "cache")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Downloading" not in done.stderr, "the library's own bars stay silent"
        return json.loads(done.stdout)

    return run


def test_a_hub_id_becomes_a_folder_with_its_commit_and_licence(resolve, tmp_path):
    answer = resolve()
    assert answer["id"] == NAME
    assert answer["source"] == "hub"
    assert answer["revision"] == COMMIT
    assert answer["licence"] == "apache-2.0"
    assert answer["path"] == str(tmp_path / "cache" / "acme--small-chat")
    assert answer["torch"] is False


def test_only_weights_configs_and_tokenizer_are_fetched(resolve, hub):
    resolve()
    assert sorted(hub.fetched()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_shared_cache_of_other_tools_is_not_written(resolve, tmp_path):
    resolve()
    assert not list((tmp_path / "hf").rglob("*small-chat*"))


def test_the_second_time_asks_the_network_nothing(resolve, hub):
    resolve()
    hub.requests.clear()
    assert resolve()["source"] == "cache"
    assert hub.requests == []


def test_progress_ends_at_the_size_of_the_weights(resolve):
    done, total, phase = resolve()["calls"][-1]
    assert phase == "downloading"
    assert done == total
    assert done >= len(safetensors_bytes(200_000))


def test_no_token_is_sent_for_a_public_model(resolve, hub):
    resolve(HF_TOKEN="hf_goodtoken123")
    assert {token for _, _, token in hub.requests} == {None}


def test_a_gated_model_without_token_names_the_licence_page(resolve, hub):
    hub.repositories[NAME].gated = "manual"
    answer = resolve()
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "gated" in answer["message"]
    assert f"{hub.address}/{NAME}" in answer["hint"]


def test_a_gated_model_with_an_accepted_licence_is_fetched(resolve, hub):
    hub.repositories[NAME].gated = "manual"
    assert resolve(HF_TOKEN="hf_goodtoken123")["source"] == "hub"


def test_a_gated_model_that_was_not_granted_says_so(resolve, hub):
    hub.repositories[NAME].gated = "manual"
    hub.repositories[NAME].granted = False
    answer = resolve(HF_TOKEN="hf_goodtoken123")
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "no access" in answer["message"]


def test_a_private_model_is_fetched_with_the_token(resolve, hub):
    hub.repositories[NAME].private = True
    assert resolve(HF_TOKEN="hf_goodtoken123")["source"] == "hub"


def test_an_unknown_model_is_the_users_mistake(resolve):
    answer = resolve("acme/no-such-model")
    assert answer["code"] == "INPUT_MODEL_NOT_FOUND"
    assert "acme/no-such-model" in answer["message"]


def test_a_hub_in_trouble_is_named_with_its_status(resolve, hub):
    hub.status = 503
    answer = resolve()
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "answered 503" in answer["message"]


def test_a_hub_that_cannot_be_reached_is_named(resolve):
    answer = resolve(HF_ENDPOINT="http://127.0.0.1:9")
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "http://127.0.0.1:9" in answer["message"]


def test_offline_mode_asks_nobody(resolve, hub):
    answer = resolve(HF_HUB_OFFLINE="1")
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "HF_HUB_OFFLINE" in answer["message"]
    assert hub.requests == []


def test_pickle_only_weights_are_refused_before_any_byte_of_them(resolve, hub):
    del (
        hub.repositories[NAME].files["model.safetensors"],
        hub.repositories[NAME].files["consolidated.safetensors"],
    )
    answer = resolve()
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "pytorch_model.bin" in answer["message"]
    assert hub.fetched() == []


def test_a_config_that_names_code_is_refused_before_the_weights(resolve, hub):
    hub.repositories[NAME].files["config.json"] = b'{"auto_map":{"AutoModel":"modeling_small.Small"}}'
    answer = resolve()
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert "auto_map" in answer["message"]
    assert "model.safetensors" not in hub.fetched()


def test_a_preset_loses_the_code_fields_of_its_config(resolve, hub):
    files = hub.repositories[NAME].files | {
        "config.json": b'{"model_type":"phi3","auto_map":{"AutoModel":"x.Y"}}'
    }
    hub.repositories["microsoft/Phi-4-mini-instruct"] = FakeRepository(files=files)
    answer = resolve("phi-4-mini-3.8b")
    assert json.loads((Path(answer["path"]) / "config.json").read_text()) == {"model_type": "phi3"}
    assert answer["licence"] == "MIT"


def test_a_cut_download_is_never_used_and_whole_files_are_kept(resolve, hub, tmp_path):
    hub.cut_after["model.safetensors"] = 1000
    answer = resolve(HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert answer["code"] == "DEP_MODEL_LOAD_FAILED"
    assert not (tmp_path / "cache" / "acme--small-chat").exists()
    hub.cut_after.clear()
    hub.requests.clear()
    assert resolve()["source"] == "hub"
    assert hub.fetched() == ["model.safetensors"]


def test_the_tutorial_model_is_taken_from_a_hub_that_answers(resolve, hub):
    hub.repositories["HuggingFaceTB/SmolLM2-135M-Instruct"] = repository()
    answer = resolve("smollm2-135m")
    assert answer["source"] == "hub"
    assert answer["id"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
