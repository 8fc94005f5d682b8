"""A campaign from the command line in real processes: killed inside a leg, continued, shown, exported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_core.events.types import LegStarted, RunCompleted, RunStarted
from backprop_core.platform import lock_is_free
from backprop_core.runs.store import RunFolder
from tests.support.attempts import bodies
from tests.support.campaigns import write_sources
from tests.support.models import write_tiny_llama
from tests.support.stores import wait_for


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def work(tmp_path, own_home):
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder
    wait_for(lambda: lock_is_free(own_home / "scheduler.lock"), "the end of the scheduler", timeout_s=60)


def run(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backpropagate", *words],
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def words_of(tiny: Path, sources: list[Path], steps: int) -> list[str]:
    data = [word for source in sources for word in ("--data", str(source))]
    model = ["--model", str(tiny), "--lora-r", "4", "--max-seq-length", "128", "--lr", "1e-2"]
    return ["multi-run", *data, *model, "--steps", str(steps), "--batch-size", "2", "--checkpoint-every", "5"]


def in_leg(folder: RunFolder, number: int) -> bool:
    return any(isinstance(body, LegStarted) and body.leg == number for body in bodies(folder))


def test_a_campaign_killed_in_its_second_leg_goes_on_when_it_is_called_again(work, tiny):
    sources = write_sources(work)
    words = words_of(tiny, sources, 60)
    run_id = run(work, *words, "--detach").stdout.strip()
    folder = RunFolder(work / "output" / "runs" / run_id)
    wait_for(lambda: in_leg(folder, 2), "the second leg", timeout_s=120)
    os.kill(next(body.pid for body in bodies(folder) if isinstance(body, RunStarted)), signal.SIGKILL)
    wait_for(lambda: not folder.is_worked_on(), "the end of the worker")
    assert not any(isinstance(body, RunCompleted) for body in bodies(folder))

    refused = run(work, *words, "--merge-mode", "simple")
    assert (refused.returncode, "[CONFIG_INVALID]" in refused.stderr) == (1, True)
    again = run(work, *words)
    assert again.returncode == 0, again.stderr
    assert "goes on" in again.stderr and "held-out loss" in again.stderr
    assert again.stdout == f"{work / 'output' / 'lora'}\n"
    assert (work / "output" / "lora" / "run_id").read_text().strip() == run_id

    shown = json.loads(run(work, "multi-run", "--show", run_id, "--json").stdout)["campaign"]
    assert [leg["status"] for leg in shown["legs"]] == ["merged"] * 3
    assert (shown["status"], shown["product_leg"], shown["step"]) == ("completed", 3, 180)
    assert [(row["leg"], row["adapter"]) for row in shown["matrix"]] == [
        (0, "base"),
        *((leg, adapter) for leg in (1, 2, 3) for adapter in ("unmerged", "merged")),
    ]
    exported = run(work, "export", run_id, "--format", "lora")
    assert exported.returncode == 0, exported.stderr


def test_a_dry_run_shows_the_legs_and_creates_nothing(work, tiny):
    done = run(work, *words_of(tiny, write_sources(work), 3), "--replay-fraction", "0.5", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "9 steps in 3 legs" in done.stdout
    assert not (work / "output").exists()
