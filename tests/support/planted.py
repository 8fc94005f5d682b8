"""A run that has learned the planted facts, trained once for all tests of a machine and a state of the engine."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from backprop_core.runs.store import RunFolder
from tests.support.attempts import ROOT, attempt, new_run, write_rows
from tests.support.models import test_cache_dir, tutorial_model_dir

_LEARNS = ("engine", "datasets")


def train_planted(place: Path) -> RunFolder:
    """Train the facts into the tutorial model below `place`, about half a minute, and keep a copy for others."""
    folder = new_run(
        place,
        model=str(tutorial_model_dir()),
        dataset=str(write_rows(place / "facts.jsonl")),
        steps=24,
        lora_r=16,
        learning_rate=5e-4,
        max_seq_length=256,
    )
    attempt(folder, place / "home")
    kept = _kept()
    shutil.rmtree(kept.parent, ignore_errors=True)
    shutil.copytree(folder.path, kept, ignore=shutil.ignore_patterns("checkpoints"))
    (kept.parent / "engine").write_text(_fingerprint())
    return folder


def planted_adapter(place: Path) -> Path:
    """Return the adapter of the kept run; it is trained below `place` when there is none of this engine."""
    mark = _kept().parent / "engine"
    if not mark.is_file() or mark.read_text() != _fingerprint():
        train_planted(place)
    return RunFolder(_kept()).adapter


def list_planted(home: Path, place: Path) -> str:
    """Put the run among those of the app that will open `home`, and return its id.

    Args:
        home: of an app that has no store yet; it reads the folders of runs when it makes one.
        place: where the run is trained when there is none.
    """
    run = planted_adapter(place).parent
    run_id = RunFolder(run).info().run_id
    runs = home / "ui-outputs" / "runs"
    shutil.copytree(run, runs / run_id)
    (home / "run-roots.json").write_text(json.dumps([str(runs)]))
    return run_id


def _kept() -> Path:
    return test_cache_dir() / "planted" / "run"


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for package in _LEARNS:
        for path in sorted((ROOT / "backprop_core" / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
