from __future__ import annotations

import pytest

from backprop_core.errors import InputError
from backprop_core.hub.names import cache_name, understand


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_preset_key_means_its_hub_id():
    name = understand("qwen2.5-7b")
    assert (name.kind, name.value, name.preset.key) == ("hub", "Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b")


def test_owner_and_name_mean_the_hub():
    assert understand("acme/Model_1.0-it").kind == "hub"


@pytest.mark.parametrize("path", ["./m", "../m", "/m", "~/m", "."])
def test_what_looks_like_a_path_is_a_folder(path):
    assert understand(path).kind == "folder"


def test_an_existing_folder_comes_before_the_hub(tmp_path):
    (tmp_path / "acme" / "model").mkdir(parents=True)
    assert understand("acme/model").kind == "folder"


def test_a_gguf_ending_means_a_file():
    assert understand("some/where/Model.Q4.GGUF").kind == "gguf"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-acme/model",
        "acme/-model",
        "acme/model/extra",
        "acme/..",
        "../acme\n",
        "acme/a..b",
        "acme/a--b",
        "acme/model\n",
        "acme/model ",
        "acme/mödel",
        "acme/model.git",
        "https://huggingface.co/acme/model",
        "file:///etc/passwd",
        "http://169.254.169.254/x.gguf",
        "acme/" + "m" * 97,
        "model",
        "a b/c",
        "acme/mo\0del",
    ],
)
def test_what_is_neither_is_refused(name):
    with pytest.raises(InputError) as caught:
        understand(name)
    assert caught.value.code == "INPUT_MODEL_NOT_FOUND"


def test_a_misspelled_preset_is_told():
    with pytest.raises(InputError, match=r"Did you mean smollm2-135m\?"):
        understand("smolm2-135m")


def test_two_ids_never_share_a_folder():
    assert cache_name("acme/model") == "acme--model"
