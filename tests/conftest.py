"""What holds for every test: no home of the user is touched, no hub is asked, one thread per process."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """Give each test a home of its own; a test that opens a store opens it there."""
    for name in [
        name
        for name in os.environ
        if name.startswith("BACKPROPAGATE_") and name != "BACKPROPAGATE_TEST_CACHE"
    ]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("BACKPROPAGATE_HOME", str(home))
    return home
