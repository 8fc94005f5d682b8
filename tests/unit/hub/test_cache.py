from __future__ import annotations

import pytest

from backprop_core.errors import InputError, StateError
from backprop_core.hub import staging
from backprop_core.hub.cache import cached_models, find_cached, remove
from backprop_core.platform import FileLock
from tests.support.model_folders import write_model_folder, write_shared_cache

NAME = "acme/model"


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def shared(tmp_path):
    return tmp_path / "shared"


def _own(cache, hub_id=NAME, folder="acme--model"):
    made = write_model_folder(cache / "made")
    staging.publish(made, cache / folder, model_id=hub_id, source="hub", revision="c0ffee", licence="MIT")
    return cache / folder


def test_our_models_are_listed_with_size_source_and_revision(cache, shared):
    path = _own(cache)
    size = sum(entry.stat().st_size for entry in path.iterdir() if entry.name != "backpropagate-model.json")
    (model,) = cached_models(cache, shared)
    assert (model.id, model.path, model.size_bytes, model.source, model.revision) == (
        NAME,
        path,
        size,
        "hub",
        "c0ffee",
    )


def test_models_of_other_tools_are_listed_after_ours(cache, shared):
    _own(cache)
    snapshot = write_shared_cache(shared, "aaa/first")
    assert [(model.id, model.source) for model in cached_models(cache, shared)] == [
        (NAME, "hub"),
        ("aaa/first", "hf-cache"),
    ]
    assert cached_models(cache, shared)[1].path == snapshot


def test_without_any_cache_folder_the_list_is_empty(tmp_path):
    assert cached_models(tmp_path / "none", tmp_path / "nothing") == []


def test_a_folder_without_marker_is_not_a_model(cache, shared):
    write_model_folder(cache / "acme--model")
    assert cached_models(cache, shared) == []
    assert find_cached(NAME, cache, shared) is None


def test_a_model_with_a_file_cut_short_is_not_found(cache, shared):
    (_own(cache) / "model.safetensors").write_bytes(b"short")
    assert find_cached(NAME, cache, shared) is None


def test_an_unfinished_download_of_other_tools_is_not_found(cache, shared):
    (write_shared_cache(shared, NAME) / "model.safetensors").unlink()
    assert find_cached(NAME, cache, shared) is None


def test_a_model_of_other_tools_that_names_code_is_not_found(cache, shared):
    (write_shared_cache(shared, NAME) / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
    assert find_cached(NAME, cache, shared) is None


def test_a_reference_that_leaves_the_snapshots_is_not_followed(cache, shared):
    snapshot = write_shared_cache(shared, NAME)
    (snapshot.parent.parent / "refs" / "main").write_text("../snapshots/abc123")
    assert find_cached(NAME, cache, shared) is None


def test_a_preset_is_found_under_its_key_and_under_its_id(cache, shared):
    path = _own(cache, "HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m")
    assert find_cached("smollm2-135m", cache, shared).path == path
    assert find_cached("HuggingFaceTB/SmolLM2-135M-Instruct", cache, shared).path == path


def test_a_removed_model_is_gone_and_its_bytes_are_told(cache, shared):
    path = _own(cache)
    size = sum(entry.stat().st_size for entry in path.iterdir())
    assert remove(NAME, cache, shared) == size
    assert [entry.name for entry in cache.iterdir()] == ["acme--model.lock"]


def test_an_unfinished_download_can_be_removed(cache, shared):
    unfinished = cache / "acme--model.partial"
    unfinished.mkdir()
    (unfinished / staging.UNFINISHED).write_text("{}")
    remove(NAME, cache, shared)
    assert not unfinished.exists()


def test_a_folder_without_marker_is_never_removed(cache, shared):
    folder = write_model_folder(cache / "acme--model")
    with pytest.raises(InputError, match="No model"):
        remove(NAME, cache, shared)
    assert (folder / "model.safetensors").exists()


def test_a_link_in_place_of_a_model_is_not_followed(tmp_path, cache, shared):
    path = _own(cache)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        remove(NAME, cache, shared)
    assert (tmp_path / "elsewhere" / "model.safetensors").exists()


def test_a_model_of_other_tools_is_never_removed(cache, shared):
    snapshot = write_shared_cache(shared, NAME)
    with pytest.raises(InputError, match="only reads") as caught:
        remove(NAME, cache, shared)
    assert "hf cache rm model/acme/model" in caught.value.hint
    assert (snapshot / "model.safetensors").exists()


def test_a_model_that_is_being_fetched_is_not_removed(cache, shared):
    path = _own(cache)
    lock = FileLock(cache / "acme--model.lock")
    assert lock.acquire()
    with pytest.raises(StateError) as caught:
        remove(NAME, cache, shared)
    lock.release()
    assert caught.value.code == "STATE_RUN_LOCKED"
    assert path.exists()


@pytest.mark.parametrize("name", ["..", "../other", "", "/etc"])
def test_a_name_cannot_leave_the_cache(cache, shared, name):
    with pytest.raises(InputError):
        remove(name, cache, shared)
