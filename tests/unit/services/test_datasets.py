"""What the Dataset page reads: the list, pages of rows, tokens, figures, report, and what it may not read."""

from __future__ import annotations

import os

import pytest

from backprop_core.errors import BackpropagateError, InputError, StateError
from backprop_core.services import datasets
from backprop_core.services.data_files import is_data_name
from backprop_core.services.datasets import DataChoices, ReviewJob
from backprop_core.services.facts import Memo
from backprop_core.workspace import Workspace
from tests.support.data_models import chat_lines, write_data_model
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


@pytest.fixture
def chosen(folder):
    return DataChoices(str(write_data_model(folder / "model")))


ABSENT = DataChoices("qwen2.5-7b")


def write(folder, text, name="rows.jsonl"):
    path = folder / name
    path.write_text(text)
    return path


def test_the_list_counts_small_files_and_says_whose_they_are(ws, folder):
    path = write(folder, chat_lines(7))
    entries = {entry.path: entry for entry in datasets.list_entries(ws, Memo())}
    found = entries[path]
    assert (found.rows, found.layout, found.place, found.problem) == (7, "openai", "data folder", "")
    assert {entry.place for entry in entries.values()} == {"example", "data folder"}


def test_the_list_names_what_is_wrong_with_a_file(ws, folder):
    path = write(folder, "{}\n")
    [found] = [entry for entry in datasets.list_entries(ws, Memo()) if entry.path == path]
    assert found.problem.startswith("None of the 1 rows of 'rows.jsonl' can be learned from")


def test_a_large_file_is_listed_uncounted_until_it_was_opened(ws, folder):
    path = write(folder, chat_lines(20_000))
    memo = Memo()
    assert [entry.rows for entry in datasets.list_entries(ws, memo) if entry.path == path] == [None]
    datasets.figures(ws, path, ABSENT, memo)
    assert [entry.rows for entry in datasets.list_entries(ws, memo) if entry.path == path] == [20_000]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", True),
        ("a.TSV", True),
        ("a.jsonl.gz", True),
        ("a.tar.gz", False),
        ("a.v2.recipe.json", False),
    ],
)
def test_names_of_data_files(name, expected):
    assert is_data_name(name) is expected


def test_a_page_begins_where_it_is_asked_to(ws, folder, chosen):
    path = write(folder, chat_lines(50))
    page = datasets.read_page(ws, path, chosen, Memo(), skip=40)
    assert ([row.row for row in page.rows], page.has_more) == (list(range(41, 51)), False)
    assert datasets.read_page(ws, path, chosen, Memo(), skip=20).has_more


def test_rows_have_tokens_when_the_model_is_here(ws, folder, chosen):
    memo = Memo()
    page = datasets.read_page(ws, write(folder, chat_lines(2)), chosen, memo)
    assert page.has_tokens
    turns = datasets.mask_turns(ws, page.rows[0], chosen, memo)
    assert [turn.role for turn in turns] == ["template", "user", "assistant"]
    assert sum(turn.n_loss for turn in turns) == page.rows[0].n_loss > 0


def test_rows_have_turns_alone_when_the_model_must_be_fetched(ws, folder):
    page = datasets.read_page(ws, write(folder, chat_lines(2)), ABSENT, Memo())
    assert (page.has_tokens, page.rows[0].tokens) == (False, ())
    assert [message.content for message in page.rows[0].messages] == ["Question 0?", "Yes 0."]
    assert datasets.mask_turns(ws, page.rows[0], ABSENT, Memo()) == ()


def test_the_mask_covers_everything_when_all_turns_are_trained(ws, folder, chosen):
    everything = DataChoices(chosen.model, train_on_responses=False)
    [row, _] = datasets.read_page(ws, write(folder, chat_lines(2)), everything, Memo()).rows
    assert row.n_loss == len(row.tokens)


def test_rows_are_found_by_number_in_the_order_of_the_file(ws, folder, chosen):
    page = datasets.read_numbered(ws, write(folder, chat_lines(9)), [8, 3], chosen, Memo())
    assert [row.row for row in page.rows] == [3, 8]


def test_figures_hold_tokens_and_lengths_with_the_model_and_rows_without(ws, folder, chosen):
    path = write(folder, chat_lines(30))
    with_model = datasets.figures(ws, path, chosen, Memo())
    without = datasets.figures(ws, path, ABSENT, Memo())
    assert with_model.tokens is not None
    assert with_model.histogram is not None
    assert (with_model.facts.rows, sum(with_model.histogram.counts)) == (30, 30)
    assert (without.facts.rows, without.tokens, without.histogram) == (30, None, None)


def test_figures_are_made_again_when_the_file_changed(ws, folder):
    path, memo = write(folder, chat_lines(3)), Memo()
    assert datasets.figures(ws, path, ABSENT, memo).facts.rows == 3
    write(folder, chat_lines(4))
    assert datasets.figures(ws, path, ABSENT, memo).facts.rows == 4


def test_the_report_judges_finds_leaks_and_is_remembered(ws, folder, chosen):
    path, heldout, memo, job = (
        write(folder, chat_lines(40)),
        write(folder, chat_lines(1), "h.jsonl"),
        Memo(),
        ReviewJob(),
    )
    assert datasets.known_review(ws, path, chosen, memo, heldout=heldout) is None
    found = datasets.full_review(ws, path, chosen, memo, job, heldout=heldout)
    assert found is not None
    assert "leaks" in [reason.word for reason in found.verdict.reasons]
    assert job.done_rows == 40
    assert datasets.known_review(ws, path, chosen, memo, heldout=heldout) is found


def test_a_cancelled_report_ends_and_is_not_remembered(ws, folder, chosen):
    path, memo, job = write(folder, chat_lines(40)), Memo(), ReviewJob()
    job.cancel()
    assert datasets.full_review(ws, path, chosen, memo, job) is None
    assert job.done_rows == 1
    assert datasets.known_review(ws, path, chosen, memo) is None


OUTSIDE = [
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "../../x.jsonl",
    "http://169.254.169.254/latest",
    "file:///etc/passwd",
    "\\\\host\\share\\x.jsonl",
    "",
]


@pytest.mark.parametrize("text", OUTSIDE)
@pytest.mark.parametrize(
    "ask",
    [
        lambda ws, path: datasets.read_page(ws, path, ABSENT, Memo()),
        lambda ws, path: datasets.read_numbered(ws, path, [1], ABSENT, Memo()),
        lambda ws, path: datasets.figures(ws, path, ABSENT, Memo()),
        lambda ws, path: datasets.full_review(ws, path, ABSENT, Memo(), ReviewJob()),
    ],
)
def test_nothing_outside_the_folders_of_the_app_is_read(ws, folder, text, ask):
    with pytest.raises(StateError) as caught:
        ask(ws, type(folder)(text))
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"


def test_a_held_out_file_outside_is_refused(ws, folder):
    path = write(folder, chat_lines(3))
    with pytest.raises(StateError) as caught:
        datasets.full_review(ws, path, ABSENT, Memo(), ReviewJob(), heldout=type(folder)("/etc/passwd"))
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"


def test_a_link_that_leads_outside_is_refused(ws, folder):
    (folder / "link.jsonl").symlink_to("/etc/passwd")
    with pytest.raises(StateError) as caught:
        datasets.read_page(ws, folder / "link.jsonl", ABSENT, Memo())
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_and_a_folder_are_refused_at_once(ws, folder):
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "sub.jsonl").mkdir()
    for name in ("pipe.jsonl", "sub.jsonl"):
        with pytest.raises(InputError):
            datasets.read_page(ws, folder / name, ABSENT, Memo())


@pytest.mark.parametrize(
    "model", ["/etc", "http://169.254.169.254/", "file:///etc", "~/.ssh", "../..", "x.gguf"]
)
def test_models_outside_are_refused(ws, folder, model):
    path = write(folder, chat_lines(1))
    with pytest.raises(BackpropagateError) as caught:
        datasets.read_page(ws, path, DataChoices(model), Memo())
    assert caught.value.code in {"SANDBOX_PATH_OUTSIDE", "INPUT_MODEL_NOT_FOUND"}
