"""What a name stands for in a chat, which base stands beside it, and what the page may not reach."""

from __future__ import annotations

import json

import pytest

from backprop_core.errors import InputError, StateError
from backprop_core.services.chat_sources import find_chat, list_chats
from backprop_core.workspace import Workspace
from tests.support.exports import IdleLauncher, list_adapter_run, write_source
from tests.support.small_gguf import write_small_gguf


@pytest.fixture
def ws(tmp_path):
    readable = tmp_path / "readable"
    readable.mkdir()
    ws = Workspace.open(IdleLauncher(), data_dirs=(readable,))
    ws.sandbox.prepare()
    yield ws
    ws.close()


def test_a_run_is_its_base_with_the_adapter_and_both_sides_are_one_worker(ws, tmp_path):
    run_id = list_adapter_run(ws, write_source(tmp_path))
    found = find_chat(ws, run_id[:8], face="page")
    assert (found.key, found.kind, found.tuned.engine) == (run_id, "adapter", "torch")
    assert found.spec("base") == found.spec("tuned")
    assert [source.key for source in list_chats(ws)] == [run_id]


def test_a_run_whose_base_is_gone_is_not_listed(ws, tmp_path):
    adapter = write_source(tmp_path)
    run_id = list_adapter_run(ws, adapter)
    (tmp_path / "base" / "config.json").unlink()
    assert list_chats(ws) == []
    with pytest.raises(InputError, match="base model of this adapter is gone"):
        find_chat(ws, run_id, face="page")


def test_a_gguf_file_alone_has_no_base(ws, tmp_path):
    found = find_chat(ws, str(write_small_gguf(tmp_path / "m.gguf")), face="cli")
    assert (found.name, found.tuned.engine, found.base) == ("m", "gguf", None)
    with pytest.raises(InputError, match="The base model of m is not known"):
        found.spec("base")


def report(file, base) -> None:
    file.with_name(f"{file.name}.export.json").write_text(
        json.dumps({"quantization": "q8_0", "base_model": str(base)})
    )


def test_the_report_beside_a_file_names_its_type_and_its_base(ws, tmp_path):
    write_source(tmp_path)
    file = write_small_gguf(tmp_path / "m.gguf")
    report(file, tmp_path / "base")
    found = find_chat(ws, str(file), face="cli")
    assert (found.kind, found.base_name) == ("q8_0", "base")
    assert found.base is not None
    assert (found.base.engine, found.base.model) == ("torch", str(tmp_path / "base"))


def test_a_pair_of_files_is_one_worker_for_both_sides(ws, tmp_path):
    for name in ("base.gguf", "adapter.gguf"):
        write_small_gguf(tmp_path / name)
    found = find_chat(ws, str(tmp_path), face="cli")
    assert found.tuned.adapter == str(tmp_path / "adapter.gguf")
    assert found.base == found.tuned


def test_the_page_opens_files_below_its_folders_only(ws, tmp_path):
    inside = write_small_gguf(tmp_path / "readable" / "m.gguf")
    assert find_chat(ws, str(inside), face="page").name == "m"
    with pytest.raises(StateError) as caught:
        find_chat(ws, str(write_small_gguf(tmp_path / "m.gguf")), face="page")
    assert caught.value.code == "SANDBOX_PATH_OUTSIDE"


def test_a_report_leads_the_page_to_no_base_outside_of_its_folders(ws, tmp_path):
    write_source(tmp_path)
    file = write_small_gguf(tmp_path / "readable" / "m.gguf")
    report(file, tmp_path / "base")
    assert find_chat(ws, str(file), face="page").base is None


def test_a_pair_whose_part_is_a_link_out_of_the_folders_is_refused(ws, tmp_path):
    folder = tmp_path / "readable" / "pair"
    folder.mkdir()
    write_small_gguf(folder / "base.gguf")
    (folder / "adapter.gguf").symlink_to(write_small_gguf(tmp_path / "outside.gguf"))
    with pytest.raises(StateError):
        find_chat(ws, str(folder), face="page")


@pytest.mark.parametrize("wanted", ["deadbeef", "./nothing.gguf", "../.."])
def test_what_is_not_there_has_a_code(ws, wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_chat(ws, wanted, face="cli")
    assert caught.value.code in {"INPUT_RUN_NOT_FOUND", "INPUT_MODEL_NOT_FOUND"}
