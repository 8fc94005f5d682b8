"""What the Dataset page writes: new versions and pasted rows, under new names inside the sandbox."""

from __future__ import annotations

import pytest

from backprop_core.datasets.operations import Convert, Dedupe, Filter, Sample, Split
from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.services import data_changes
from backprop_core.services.data_changes import (
    Columns,
    columns_of,
    make_versions,
    operation_of,
    save_pasted,
    versions_of,
)
from backprop_core.workspace import Workspace
from tests.support.data_models import chat_lines
from tests.support.exports import IdleLauncher


@pytest.fixture
def folder(tmp_path):
    named = tmp_path / "data"
    named.mkdir()
    return named


@pytest.fixture
def ws(folder):
    opened = Workspace.open(IdleLauncher(), data_dirs=(folder,))
    opened.sandbox.prepare()
    yield opened
    opened.close()


def write(folder, text, name="rows.jsonl"):
    path = folder / name
    path.write_text(text)
    return path


def made(ws):
    return sorted(path.name for path in (ws.settings.sandbox_root / "datasets").iterdir())


def test_an_operation_makes_the_next_version_with_its_recipe_and_leaves_the_source(ws, folder):
    path = write(folder, chat_lines(5))
    [version] = make_versions(ws, path, Sample(rows=2))
    assert made(ws) == ["rows.v2.jsonl", "rows.v2.recipe.json"]
    assert version.recipe is not None
    assert (version.recipe.rows, version.recipe.source) == (2, "rows.jsonl")
    assert path.read_text() == chat_lines(5)


def test_no_version_is_overwritten(ws, folder):
    path = write(folder, chat_lines(5))
    [first] = make_versions(ws, path, Sample(rows=2))
    before = first.path.read_text()
    [second] = make_versions(ws, path, Sample(rows=3))
    assert (second.path.name, first.path.read_text()) == ("rows.v3.jsonl", before)


def test_a_split_makes_both_parts_without_a_common_row(ws, folder):
    path = write(folder, chat_lines(20))
    train, heldout = make_versions(ws, path, Split(share=0.2))
    rows = train.path.read_text().splitlines(), heldout.path.read_text().splitlines()
    assert (len(rows[0]), len(rows[1]), set(rows[0]) & set(rows[1])) == (16, 4, set())


def test_versions_are_found_from_the_source_and_from_each_version(ws, folder):
    path = write(folder, chat_lines(5), "my talks (1).jsonl")
    [version] = make_versions(ws, path, Sample(rows=2))
    assert version.path.name == "my-talks-1.v2.jsonl"
    for asked in (path, version.path):
        assert [(found.path, found.number) for found in versions_of(ws, asked)] == [
            (path, 1),
            (version.path, 2),
        ]


def test_a_version_of_a_version_counts_on(ws, folder):
    [second] = make_versions(ws, write(folder, chat_lines(5)), Sample(rows=3))
    [third] = make_versions(ws, second.path, Sample(rows=2))
    assert (third.path.name, third.recipe.source) == ("rows.v3.jsonl", "rows.v2.jsonl")


def test_an_operation_that_leaves_no_row_writes_nothing(ws, folder):
    with pytest.raises(InputError):
        make_versions(ws, write(folder, chat_lines(5)), Filter(min_chars=10_000))
    assert made(ws) == []


@pytest.mark.parametrize("source", ["/etc/passwd", "/proc/self/environ", "../x.jsonl", "http://127.0.0.1/"])
def test_a_source_outside_is_refused(ws, folder, source):
    with pytest.raises(StateError) as caught:
        make_versions(ws, type(folder)(source), Dedupe(near=False))
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"
    with pytest.raises(StateError):
        versions_of(ws, type(folder)(source))


def test_nothing_is_written_through_a_link(ws, folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (ws.settings.sandbox_root / "datasets").rmdir()
    (ws.settings.sandbox_root / "datasets").symlink_to(elsewhere)
    with pytest.raises(StateError) as caught:
        make_versions(ws, write(folder, chat_lines(5)), Sample(rows=2))
    assert caught.value.code == "SANDBOX_NOT_WRITABLE"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        (
            "filter",
            {"min_chars": "10", "max_turns": "", "matching": "a+"},
            Filter(min_chars=10, matching="a+"),
        ),
        ("dedupe", {"threshold": "0.9", "near": "off"}, Dedupe(near=False, threshold=0.9)),
        ("sample", {"rows": "1,000"}, Sample(rows=1000)),
        ("split", {"share": "0.25", "seed": "7"}, Split(share=0.25, seed=7)),
        ("convert", {"to": "csv"}, Convert(to="csv")),
    ],
)
def test_a_form_becomes_an_operation(name, form, expected):
    assert operation_of(name, form) == expected


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("erase", {}),
        ("filter", {"path": "1"}),
        ("filter", {"min_chars": "many"}),
        ("filter", {"matching": "("}),
        ("filter", {"matching": "a" * 1001}),
        ("split", {"share": "2"}),
        ("sample", {"rows": "0"}),
        ("convert", {"to": "../x"}),
        ("curriculum", {"order": "random"}),
    ],
)
def test_a_form_that_is_wrong_is_refused_with_its_value(name, form):
    with pytest.raises(InputError) as caught:
        operation_of(name, form)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("text", "suffix"),
    [(chat_lines(2), ".jsonl"), ('[{"prompt": "a", "completion": "b"}]', ".json"), ("One.", ".txt")],
)
def test_pasted_rows_become_a_file_of_their_kind(ws, text, suffix):
    path = save_pasted(ws, "notes", text)
    assert (path.name.startswith("notes-"), path.suffix, path.read_text()) == (True, suffix, text)


@pytest.mark.parametrize(
    "name", ["../../x", "a\\..\\b", "/etc/passwd", "C:x", "con", "x:ads", "\x00", "a" * 300, "\u202egnp", ""]
)
def test_whatever_the_name_is_the_rows_lie_in_the_folder_of_the_app(ws, name):
    path = save_pasted(ws, name, chat_lines(1))
    assert path.parent == ws.settings.sandbox_root / "datasets"
    assert path.is_file()


@pytest.mark.parametrize("text", ["", "  \n", '{"a": 1}', "x" * 100_001])
def test_pasted_text_without_a_usable_row_is_refused_and_not_listed(ws, text):
    with pytest.raises(BackpropagateError):
        save_pasted(ws, "", text)
    assert made(ws) == []


def test_a_stem_is_shared_by_versions_and_compressed_files(folder):
    names = ("talks.jsonl", "talks.v2.jsonl", "talks.v12.csv", "talks.jsonl.gz")
    assert {data_changes.stem_of(folder / name) for name in names} == {"talks"}


def test_columns_named_once_are_remembered_for_files_that_have_them(ws, folder):
    path = write(folder, '{"frage": "Hi", "antwort": "Hello!"}\n', "odd.jsonl")
    assert columns_of(ws, path) == Columns(("frage", "antwort"), {})

    make_versions(ws, path, Convert(prompt="frage", completion="antwort"))
    more = write(folder, '{"id": 1, "frage": "Hi", "antwort": "Hello!"}\n', "more.jsonl")
    other = write(folder, '{"q": "Hi", "a": "Hello!"}\n', "other.jsonl")

    assert columns_of(ws, more).remembered == {"prompt": "frage", "completion": "antwort"}
    assert columns_of(ws, other).remembered == {}


def test_columns_of_a_file_elsewhere_are_not_told(ws, tmp_path):
    with pytest.raises(StateError):
        columns_of(ws, write(tmp_path, '{"a": 1}\n'))
