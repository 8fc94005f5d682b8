"""Data sets of the hub by the real `datasets` library against a local server that speaks the hub's HTTP."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from backprop_core.errors import InputError
from backprop_core.services import data_fetch
from backprop_core.services.data_fetch import FetchCancelledError, FetchJob, hub_source
from backprop_core.services.opening import open_workspace
from backpropagate.cli.main import main
from tests.support.hub_server import FakeHub, FakeRepository, serving

ROWS = [{"prompt": f"Question {number}?", "completion": f"Answer {number}."} for number in range(40)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    repositories = {
        "owner/talks": FakeRepository({"train.jsonl": LINES, "README.md": b"# Talks\n"}),
        "owner/secret": FakeRepository({"train.jsonl": LINES}, private=True),
    }
    with serving(FakeHub(repositories)) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.fixture
def ws():
    opened = open_workspace()
    yield opened
    opened.close()


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    root = logging.getLogger()
    before = root.handlers[:]
    code = main(list(arguments))
    root.handlers[:] = before
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_data_set_becomes_a_file_with_its_recipe(hub, capsys):
    code, out, _ = run(capsys, "data", "fetch", "owner/talks", "--rows", "10")

    assert (code, out) == (0, "owner--talks-train.jsonl\n")
    rows = [json.loads(line) for line in Path("owner--talks-train.jsonl").read_text().splitlines()]
    assert rows == ROWS[:10]
    recipe = json.loads(Path("owner--talks-train.recipe.json").read_text())
    assert (recipe["operation"], recipe["source"], recipe["rows"]) == ("fetch", "owner/talks", 10)


def test_an_existing_file_is_never_overwritten(hub, capsys):
    Path("owner--talks-train.jsonl").write_text("mine")

    code, _, err = run(capsys, "data", "fetch", "owner/talks")

    assert (code, Path("owner--talks-train.jsonl").read_text()) == (1, "mine")
    assert "[INPUT_VALIDATION_FAILED]" in err


@pytest.mark.parametrize("repo", ["owner/nothing", "owner/secret"])
def test_what_cannot_be_read_is_told_and_leaves_nothing(hub, capsys, repo):
    code, _, err = run(capsys, "data", "fetch", repo)

    assert code == 1
    assert "[INPUT_DATASET_NOT_FOUND]" in err
    assert list(Path().glob("owner--*")) == []


def test_the_data_of_a_run_may_be_a_hub_id_and_is_fetched_once(hub, ws):
    first = data_fetch.local_data(ws, "owner/talks")
    asked = len(hub.requests)

    assert Path(first).read_bytes().count(b"\n") == 40
    assert data_fetch.local_data(ws, "owner/talks") == first
    assert len(hub.requests) == asked


def test_a_dry_run_fetches_nothing(hub, capsys):
    code, _, err = run(capsys, "train", "--data", "owner/talks", "--model", "smollm2-135m", "--dry-run")

    assert (code, hub.requests) == (1, [])
    assert "`backprop data fetch owner/talks`" in err


def test_a_file_wins_over_a_hub_id_of_the_same_name(hub, ws):
    Path("owner").mkdir()
    Path("owner/talks").write_bytes(LINES)

    assert data_fetch.local_data(ws, "owner/talks") == "owner/talks"
    assert hub.requests == []


def test_a_cancelled_transfer_leaves_nothing(hub, ws):
    job = FetchJob()
    job.cancel()

    with pytest.raises(FetchCancelledError):
        data_fetch.fetch_for_page(ws, hub_source("owner/talks"), job)

    assert list(ws.sandbox.path("datasets").iterdir()) == []


@pytest.mark.parametrize("rows", ["0", "-1", "many", "1.5"])
def test_a_wrong_number_of_rows_is_named(rows):
    with pytest.raises(InputError, match="whole number above 0"):
        hub_source("owner/talks", rows=rows)
