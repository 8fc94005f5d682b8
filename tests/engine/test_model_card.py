"""The model card beside each export: what it tells, what it never tells, and that its commands make the file again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backpropagate
from backprop_core.files import read_json, sha256_of
from backpropagate import Trainer
from tests.support.attempts import write_rows
from tests.support.stores import ROOT

FACTS = {f"What does box {number} hold?": f"Box {number} holds {number * 7} pears." for number in range(12)}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_model) -> Path:
    """A folder with data and model, where a run was trained, evaluated and exported."""
    folder = tmp_path_factory.mktemp("card")
    shutil.copytree(tiny_model, folder / "tiny")
    write_rows(folder / "boxes.jsonl", FACTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BACKPROPAGATE_HOME", str(folder / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        trainer = Trainer(
            "./tiny", lora_r=4, learning_rate=1e-2, max_seq_length=128, eval_split=0.5, device="cpu"
        )
        trainer.train("boxes.jsonl", steps=6)
        trainer.evaluate()
        trainer.export("gguf", "f16")
        trainer.export("lora", model_card=False)
    return folder


def exported(place: Path) -> Path:
    (found,) = (place / "output" / "exports" / "gguf").glob("*.gguf")
    return found


@pytest.fixture
def card(place) -> str:
    path = exported(place)
    return path.with_name(path.name + ".README.md").read_text(encoding="utf-8")


def test_it_tells_base_data_settings_loss_evaluation_proof_and_digest(place, card):
    assert card.startswith("---\nlicense: other\nlibrary_name: gguf\n")
    for wanted in (
        "| Base | tiny |",
        f"| Data | `boxes.jsonl`, SHA-256 `{sha256_of(place / 'boxes.jsonl')}` |",
        "| `learning_rate` | `0.01` |",
        "| 6 held-out rows of `boxes.jsonl` | base |",
        "No evidence of gain.",
        "Proven, with a note.",
        "| structure | pass |",
        f"`{sha256_of(exported(place))}`",
    ):
        assert wanted in card, card
    assert re.search(r"Loss `[▁▂▃▄▅▆▇█]{6}` from \d+\.\d{3} to \d+\.\d{3}\.", card)


def test_it_names_no_folder_of_this_machine(place, card):
    assert str(place) not in card
    assert str(Path.home()) not in card


def test_an_unknown_licence_is_said_to_be_unknown(card):
    assert "| Licence of the base | unknown; look at the page of the base model" in card


def test_without_a_card_none_is_written(place):
    assert list((place / "output" / "exports" / "lora").rglob("README.md")) == []


def test_its_commands_make_the_same_file_again(place, card, tmp_path, monkeypatch):
    (block,) = re.findall(r"```bash\n(.*?)```", card, re.DOTALL)
    shutil.copytree(place / "tiny", tmp_path / "tiny")
    shutil.copy2(place / "boxes.jsonl", tmp_path)
    (tmp_path / "backprop").write_text(f'#!/bin/sh\nexec {sys.executable} -m backpropagate "$@"\n')
    (tmp_path / "backprop").chmod(0o755)
    env = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "BACKPROPAGATE_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["sh", "-ec", block], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    again = exported(tmp_path)
    assert again.name == exported(place).name
    ours, theirs = (
        [part["sha256"] for part in read_json(path.with_name(path.name + ".export.json"))["tensors"]]
        for path in (exported(place), again)
    )
    assert ours == theirs


def test_a_card_can_be_written_for_a_bare_adapter(place, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_HOME", str(place / "home"))
    adapter = tmp_path / "mine"
    shutil.copytree(place / "output" / "lora", adapter)
    path = backpropagate.write_model_card(adapter)
    assert path == adapter / "README.md"
    assert "library_name: peft" in path.read_text(encoding="utf-8")
