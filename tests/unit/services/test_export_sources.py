"""What a run tells the export about its training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop_core.errors import InputError
from backprop_core.files import sha256_of
from backprop_core.services.export_sources import find_source, list_sources, shared_system, training_facts
from backprop_core.workspace import Workspace
from tests.support.exports import IdleLauncher, list_adapter_run, write_source
from tests.support.stores import make_run


@pytest.fixture
def ws():
    ws = Workspace.open(IdleLauncher())
    yield ws
    ws.close()


def rows(path: Path, *systems: str | None) -> Path:
    lines = []
    for system in systems:
        head = [] if system is None else [{"role": "system", "content": system}]
        asked = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
        lines.append(json.dumps({"messages": head + asked}) + "\n")
    path.write_text("".join(lines))
    return path


def test_a_prompt_that_every_row_has_is_shared(tmp_path):
    data = rows(tmp_path / "a.jsonl", "Be brief.", "Be brief.")
    assert shared_system(data, sha256_of(data)) == "Be brief."


@pytest.mark.parametrize("systems", [("Be brief.", "Be kind."), ("Be brief.", None), (None, None)])
def test_a_prompt_that_not_every_row_has_is_not(tmp_path, systems):
    data = rows(tmp_path / "a.jsonl", *systems)
    assert shared_system(data, sha256_of(data)) is None


def test_data_that_changed_since_the_training_tells_nothing(tmp_path):
    data = rows(tmp_path / "a.jsonl", "Be brief.")
    assert shared_system(data, "0" * 64) is None


def test_a_run_tells_prompt_and_longest_row(ws, tmp_path):
    data = rows(tmp_path / "a.jsonl", "Be brief.")
    run_id = list_adapter_run(ws, write_source(tmp_path), dataset=data, max_seq_length=512)
    training = training_facts(ws, find_source(ws, run_id, face="page"))
    assert (training.system, training.tokens) == ("Be brief.", 512)


def test_a_run_whose_data_is_gone_tells_nothing(ws, tmp_path):
    data = rows(tmp_path / "a.jsonl", "Be brief.")
    run_id = list_adapter_run(ws, write_source(tmp_path), dataset=data)
    data.unlink()
    training = training_facts(ws, find_source(ws, run_id, face="page"))
    assert (training.system, training.tokens) == (None, None)


def test_only_runs_with_an_adapter_can_be_chosen(ws, tmp_path):
    ws.database.insert(make_run(ws).model_copy(update={"status": "completed"}))
    run_id = list_adapter_run(ws, write_source(tmp_path))
    assert [state.run_id for state in list_sources(ws)] == [run_id]


def test_a_run_without_an_adapter_is_refused_with_its_state(ws):
    state = make_run(ws).model_copy(update={"status": "failed"})
    ws.database.insert(state)
    with pytest.raises(InputError, match="is failed and has no adapter"):
        find_source(ws, state.run_id, face="cli")


def test_a_run_folder_stands_for_its_adapter(ws, tmp_path):
    run_id = list_adapter_run(ws, write_source(tmp_path))
    folder = ws.settings.sandbox_root / "runs" / run_id
    assert find_source(ws, str(folder), face="cli").folder == folder / "adapter"
