"""Data sets of the hub: ids are checked before anything starts, rows arrive as JSON lines, failures are named."""

from __future__ import annotations

import io
import sys
from types import ModuleType, SimpleNamespace

import orjson
import pytest

from backprop_core.datasets import child_main
from backprop_core.datasets.child import LENGTH, ChildFailed, read_frame
from backprop_core.datasets.hub_rows import HubSource, _as_error, hub_lines, is_hub_dataset
from backprop_core.errors import InputError


@pytest.mark.parametrize("text", ["owner/name", "HuggingFaceH4/no_robots", "a/b.c-d"])
def test_a_well_formed_id_is_one(text):
    assert is_hub_dataset(text)


@pytest.mark.parametrize(
    "text",
    [
        "-a/b",
        "a/b/c",
        "a/..",
        "../a",
        "http://x/y",
        "a/b\n",
        "a",
        "a/",
        "/a",
        "a b/c",
        "file:///etc/passwd",
        "a--b/c",
    ],
)
def test_what_is_no_id_is_refused_before_anything_starts(text, monkeypatch):
    monkeypatch.setattr("backprop_core.datasets.hub_rows.Child", None)

    with pytest.raises(InputError) as caught:
        next(hub_lines(HubSource(text)))

    assert caught.value.code == "INPUT_DATASET_NOT_FOUND"


@pytest.mark.parametrize(
    "source",
    [HubSource("a/b", split="x;y"), HubSource("a/b", config="../c"), HubSource("a/b", revision="-r")],
)
def test_other_names_are_checked_too(source):
    with pytest.raises(InputError) as caught:
        next(hub_lines(source))

    assert caught.value.code == "INPUT_VALIDATION_FAILED"


class FakeStream(list):
    features = None

    def take(self, count):
        return self[:count]


def fake_library(load):
    library = ModuleType("datasets")
    library.load_dataset = load
    library.disable_progress_bars = lambda: None
    library.exceptions = SimpleNamespace(DatasetsError=type("DatasetsError", (Exception,), {}))
    return library


def run_job(monkeypatch, load, **request):
    monkeypatch.setitem(sys.modules, "datasets", fake_library(load))
    monkeypatch.setattr(child_main, "limit_memory", lambda memory: None)
    asked = {"repo": "a/b", "config": None, "split": "train", "revision": None, "token": None, "limit": None}
    body = orjson.dumps({**asked, "row_bytes": 1000, "columns": 10, **request})
    out = io.BytesIO()
    child_main._hub(0, [], io.BytesIO(LENGTH.pack(len(body)) + body), out)
    out.seek(0)
    frames = []
    while frame := read_frame(out):
        frames.append(frame)
    return b"".join(frames)


def test_rows_arrive_as_json_lines_and_the_request_is_passed_on(monkeypatch):
    seen = {}

    def load(repo, **options):
        seen.update(repo=repo, **options)
        return FakeStream([{"text": "a"}, {"text": "b"}, {"text": "c"}])

    lines = run_job(monkeypatch, load, limit=2, token="hf_x")

    assert lines == b'{"text":"a"}\n{"text":"b"}\n'
    assert seen == {
        "repo": "a/b",
        "name": None,
        "split": "train",
        "revision": None,
        "token": "hf_x",
        "streaming": True,
    }


def test_a_row_above_the_limit_is_left_to_the_reader_to_name(monkeypatch):
    lines = run_job(monkeypatch, lambda repo, **_: FakeStream([{"text": "x" * 2000}]))

    assert lines == b" " * 1001 + b"\n"


class Image:
    pass


@pytest.mark.parametrize(
    ("failure", "word"),
    [
        (FileNotFoundError("no such data set"), "missing"),
        (ConnectionError("no network"), "offline"),
        (ValueError("Bad split"), "missing"),
    ],
)
def test_failures_of_the_library_get_a_word(monkeypatch, failure, word):
    def load(repo, **_):
        raise failure

    with pytest.raises(child_main._Refused) as caught:
        run_job(monkeypatch, load)

    assert caught.value.line == f"{word}\t{failure}"


def test_columns_of_images_are_refused(monkeypatch):
    stream = FakeStream()
    stream.features = {"picture": Image()}

    with pytest.raises(child_main._Refused, match="'picture' holds images"):
        run_job(monkeypatch, lambda repo, **_: stream)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("missing", "INPUT_DATASET_NOT_FOUND"),
        ("offline", "INPUT_DATASET_NOT_FOUND"),
        ("slow", "INPUT_DATASET_NOT_FOUND"),
        ("unsupported", "INPUT_DATASET_FORMAT_UNSUPPORTED"),
        ("library", "DEP_EXTRA_MISSING"),
        ("memory", "INPUT_DATASET_INVALID"),
    ],
)
def test_each_word_becomes_a_stable_code(word, code):
    assert _as_error(ChildFailed(word, "because"), HubSource("a/b")).code == code
