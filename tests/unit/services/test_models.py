"""Downloads are queued once, removals take only what is named and nothing that work needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop_core import files
from backprop_core.config.exports import report_path
from backprop_core.errors import InputError, StateError
from backprop_core.hub import staging
from backprop_core.jobs.launcher import ProcessLauncher
from backprop_core.runs.store import RunFolder
from backprop_core.services import models
from backprop_core.workspace import Workspace
from tests.support.exports import IdleLauncher
from tests.support.model_folders import write_model_folder
from tests.support.stores import submit_run

NAME = "acme/small-chat"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    store = Workspace.open(IdleLauncher())
    yield store
    store.close()


def own_model(ws: Workspace, hub_id: str) -> Path:
    cache = ws.settings.cache_dir
    cache.mkdir(parents=True, exist_ok=True)
    made = write_model_folder(cache / "made")
    target = cache / hub_id.replace("/", "--")
    staging.publish(made, target, model_id=hub_id, source="hub", revision="c0ffee", licence="MIT")
    return target


def base_file(ws: Workspace, name: str) -> Path:
    path = ws.home / "cache" / "gguf" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF" * 25)
    files.write_json(report_path(path), {"size_bytes": 100, "sha256": "0"})
    return path


def test_the_same_model_is_queued_once(ws: Workspace) -> None:
    first = models.start_download(ws, NAME, face="page")
    assert models.start_download(ws, NAME, face="page") == first
    state = ws.database.find(first).state
    assert (state.kind, state.model, state.status) == ("download", NAME, "queued")
    assert RunFolder(Path(state.folder)).download_spec().model == NAME


def test_a_model_that_is_here_is_not_fetched(ws: Workspace) -> None:
    own_model(ws, NAME)
    with pytest.raises(InputError, match="on this machine already"):
        models.start_download(ws, NAME, face="page")


@pytest.mark.parametrize("name", ["", "../../etc", "/etc/passwd", "https://x/y", "one", "a/b.gguf"])
def test_only_presets_and_hub_ids_are_fetched(ws: Workspace, name: str) -> None:
    with pytest.raises(InputError) as caught:
        models.start_download(ws, name, face="page")
    assert caught.value.code == "INPUT_MODEL_NOT_FOUND"


def test_a_removal_takes_the_named_model_alone(ws: Workspace) -> None:
    gone, kept = own_model(ws, NAME), own_model(ws, "acme/other")
    assert models.remove(ws, NAME) > 0
    assert not gone.exists()
    assert [model.id for model in models.list_cached(ws)] == ["acme/other"]
    assert kept.is_dir()


def test_a_base_file_of_exports_is_removed_by_its_exact_name(ws: Workspace) -> None:
    gone, kept = base_file(ws, "a-q8_0.gguf"), base_file(ws, "b-q8_0.gguf")
    with pytest.raises(InputError):
        models.remove(ws, "../gguf/a-q8_0.gguf")
    assert models.remove(ws, "a-q8_0.gguf") == 100
    assert not gone.exists()
    assert not report_path(gone).exists()
    assert [item.path for item in models.list_ggufs(ws)] == [kept]


def test_a_model_that_a_waiting_run_needs_stays(ws: Workspace) -> None:
    own_model(ws, NAME)
    job = ws.database.find(submit_run(ws)).state
    ws.database.delete(job.run_id)
    ws.database.insert(job.model_copy(update={"model": NAME}))
    with pytest.raises(StateError, match="is needed by plain"):
        models.remove(ws, NAME)
    assert len(models.list_cached(ws)) == 1


def test_the_worker_of_a_download_gets_the_hub_token(ws: Workspace, tmp_path: Path, monkeypatch) -> None:
    given: dict[str, str] = {}

    def spawn(command: list[str], *, cwd: Path, env: dict[str, str], output: object) -> object:
        given.update(env)
        raise OSError("not started")

    monkeypatch.setattr("backprop_core.platform.spawn_detached", spawn)
    folder = Path(ws.database.find(models.start_download(ws, NAME, face="page")).state.folder)
    with pytest.raises(OSError, match="not started"):
        ProcessLauncher({"HF_TOKEN": "hf_x", "PATH": "/bin"}).spawn_worker(folder, "id", tmp_path)
    assert given["HF_TOKEN"] == "hf_x"
