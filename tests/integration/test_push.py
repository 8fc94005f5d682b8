"""Pushes to a hub on a local port by real workers: what arrives, what is never told, what is said when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backprop_core.errors import InputError
from backprop_core.services import pushes
from backprop_core.services.opening import open_workspace
from backprop_core.services.pushes import PushRequest
from tests.support.hub_server import COMMIT, FakeHub, FakeRepository, serving
from tests.support.stores import ROOT

TOKEN = "hf_writetoken123"


@pytest.fixture
def hub():
    with serving(FakeHub()) as running:
        yield running


@pytest.fixture
def adapter(tmp_path) -> Path:
    folder = tmp_path / "made" / "lora"
    folder.mkdir(parents=True)
    config = {"base_model_name_or_path": "/home/ada/models/small", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(bytes(300_000))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    (folder / "run_id").write_text("x")
    return folder


@pytest.fixture
def push(hub, tmp_path):
    """Return a function that runs `backprop push` and returns its process."""

    def start(path: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "hf"),
            "NO_COLOR": "1",
            **env,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "backpropagate", "push", str(path), *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def told(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_an_adapter_arrives_private_with_a_card_and_its_token_stays_nowhere(
    hub, push, adapter, own_home, tmp_path
):
    code, out, err = told(push(adapter, "--repo", "ada/small-lora", HF_TOKEN=TOKEN))
    assert code == 0, err
    assert out.strip() == f"{hub.address}/ada/small-lora/commit/{COMMIT}"
    made = hub.repositories["ada/small-lora"]
    assert made.private
    assert sorted(made.files) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    ]
    assert made.files["adapter_model.safetensors"] == bytes(300_000)
    assert json.loads(made.files["adapter_config.json"])["base_model_name_or_path"] == "small"
    assert b"/home/ada" not in b"".join(made.files.values())
    assert b"library_name: peft" in made.files["README.md"]
    assert hub.commits == [("ada/small-lora", "Upload lora")]
    held = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    held += [path for path in own_home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert held == []


def test_the_token_is_in_no_argument_and_no_environment_of_a_worker(hub, push, adapter, own_home):
    hub.takes_bytes_slowly = True
    (adapter / "adapter_model.safetensors").write_bytes(bytes(3 << 20))
    process = push(adapter, "--repo", "ada/small-lora", HF_TOKEN=TOKEN)
    seen: set[str] = set()
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                argv = (folder / "cmdline").read_bytes()
                if b"engine.worker" in argv and str(own_home).encode() in argv:
                    seen.add("worker")
                    assert TOKEN.encode() not in argv + (folder / "environ").read_bytes()
            except OSError:
                continue
        time.sleep(0.02)
    assert told(process)[0] == 0
    assert seen == {"worker"}


def test_a_token_file_counts_before_the_environment(push, adapter, own_home, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    assert told(push(adapter, "--repo", "ada/x", "--token-file", str(file), HF_TOKEN="hf_other"))[0] == 0
    file.chmod(0o644)
    code, _, err = told(push(adapter, "--repo", "ada/x", "--token-file", str(file)))
    assert code == 1
    assert "can be used by others" in err


@pytest.mark.parametrize(
    ("repo", "token", "status", "cause"),
    [
        ("ada/x", "hf_wrong", None, "with 401: the token is not valid"),
        ("forbidden/x", TOKEN, None, "with 403: the token may not write there"),
        ("ada/x", TOKEN, 404, "with 404: there is no such owner, repository or branch"),
        ("ada/x", "", None, "No token is set for the push to ada/x"),
    ],
)
def test_a_refusal_is_told_by_its_cause(hub, push, adapter, own_home, repo, token, status, cause):
    hub.status = status
    code, _, err = told(push(adapter, "--repo", repo, **({"HF_TOKEN": token} if token else {})))
    assert code == 2
    assert "[HUB_PUSH_FAILED]" in err
    assert cause in err
    assert hub.commits == []


def test_a_hub_that_is_not_there_is_told_as_such(push, adapter, own_home):
    env = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}
    code, _, err = told(push(adapter, "--repo", "ada/x", **env))
    assert code == 2
    assert "no usable answer from http://127.0.0.1:9" in err


def test_a_private_push_never_goes_into_a_public_repository(hub, push, adapter, own_home):
    hub.repositories["ada/open"] = FakeRepository({}, private=False)
    code, _, err = told(push(adapter, "--repo", "ada/open", HF_TOKEN=TOKEN))
    assert code == 1
    assert "ada/open is public" in err
    assert hub.repositories["ada/open"].files == {}
    assert told(push(adapter, "--repo", "ada/open", "--public", HF_TOKEN=TOKEN))[0] == 0


def test_a_cancelled_push_leaves_the_repository_as_it_is(hub, push, adapter, own_home):
    hub.takes_bytes_slowly = True
    (adapter / "adapter_model.safetensors").write_bytes(bytes(20 << 20))
    process = push(adapter, "--repo", "ada/x", HF_TOKEN=TOKEN)
    deadline = time.monotonic() + 60
    while not any(method == "PUT" for method, _, _ in hub.requests) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(2)
    code, _, err = told(process)
    assert code == 130, err
    assert hub.commits == []
    assert hub.repositories["ada/x"].files == {}


@pytest.mark.parametrize("repo", ["x", "-a/b", "a/b/c", "a/../b", "https://hub/a/b", "a/b\n"])
def test_a_name_that_is_no_repository_is_refused_before_anything_is_created(adapter, own_home, repo):
    ws = open_workspace()
    try:
        with pytest.raises(InputError, match="is no name of a repository"):
            pushes.prepare(ws, PushRequest(str(adapter), repo), face="cli", is_detached=True)
        assert not (own_home / "jobs").exists()
    finally:
        ws.close()
