"""The three faces' first run with the real engine, in real processes, on a tiny random model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backprop_core.events.types import Metrics, RunResumed, RunStarted
from backprop_core.platform import lock_is_free
from backprop_core.runs.store import RunFolder
from tests.support.attempts import bodies, metrics, write_rows
from tests.support.models import write_tiny_llama
from tests.support.stores import wait_for


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def rows(tmp_path):
    return write_rows(tmp_path / "facts.jsonl")


@pytest.fixture
def work(tmp_path, own_home):
    folder = tmp_path / "work"
    folder.mkdir()
    yield folder
    # The scheduler ends by itself once nothing is queued.
    wait_for(lambda: lock_is_free(own_home / "scheduler.lock"), "the end of the scheduler", timeout_s=60)


def run(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def listed(work: Path) -> list[dict]:
    return json.loads(run(work, "-m", "backpropagate", "list-runs", "--json").stdout)["runs"]


def train_words(tiny: Path, rows: Path, *more: str) -> list[str]:
    words = ["--model", str(tiny), "--data", str(rows), "--lora-r", "4", "--max-seq-length", "128"]
    return ["-m", "backpropagate", "train", *words, *more]


def test_the_command_trains_publishes_and_lists(work, tiny, rows):
    done = run(work, *train_words(tiny, rows, "--steps", "2"))
    assert done.returncode == 0, done.stderr
    [entry] = listed(work)
    assert done.stderr.splitlines()[0] == f"run_started run_id={entry['run_id']}"
    assert done.stdout == f"{work / 'output' / 'lora'}\n"
    assert (work / "output" / "lora" / "adapter_model.safetensors").is_file()
    assert (work / "output" / "lora" / "run_id").read_text().strip() == entry["run_id"]
    assert (entry["status"], entry["step"], entry["source"]) == ("completed", 2, "cli")
    [history] = json.loads((work / "output" / "run_history.json").read_text())
    assert (history["run_id"], history["status"]) == (entry["run_id"], "completed")


def test_ctrl_c_saves_what_was_learned(work, tiny, rows):
    process = subprocess.Popen(
        [sys.executable, *train_words(tiny, rows, "--steps", "100000")],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "step " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert (work / "output" / "lora" / "adapter_model.safetensors").is_file()
    [entry] = listed(work)
    assert entry["status"] == "stopped"
    assert 1 <= entry["step"] < 100_000


def test_killing_the_command_leaves_the_run_alone(work, tiny, rows):
    process = subprocess.Popen(
        [sys.executable, *train_words(tiny, rows, "--steps", "60")],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while "step " not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    done = run(work, "-m", "backpropagate", "watch", listed(work)[0]["run_id"][:8])
    assert done.returncode == 0, done.stderr
    [entry] = listed(work)
    assert (entry["status"], entry["step"]) == ("completed", 60)


PROGRAM = """
import json, sys
from backpropagate import Trainer, TrainingCallback

class Hooks(TrainingCallback):
    def __init__(self):
        self.told = []
    def on_step(self, step, metrics):
        self.told.append(step)
        raise ValueError("a hook that fails")
    def on_complete(self, result):
        self.told.append(result.status)

hooks = Hooks()
trainer = Trainer(sys.argv[1], lora_r=4, max_seq_length=128)
result = trainer.train(sys.argv[2], steps=2, callback=hooks)
trainer.save("copy")
print(json.dumps([result.run_id, result.status, result.steps, str(result.adapter_path), hooks.told]))
"""


def test_three_lines_of_python_do_the_same(work, tiny, rows):
    done = run(work, "-c", PROGRAM, str(tiny), str(rows))
    assert done.returncode == 0, done.stderr
    run_id, status, steps, adapter, told = json.loads(done.stdout)
    assert (status, steps, told) == ("completed", 2, [1, 2, "completed"])
    assert f"run_started run_id={run_id}" in done.stderr
    assert "kernels" not in done.stderr
    assert "downloading" not in done.stderr
    assert Path(adapter, "adapter_model.safetensors").is_file()
    assert (work / "output" / "lora" / "run_id").read_text().strip() == run_id
    assert (work / "copy" / "adapter_model.safetensors").is_file()
    [entry] = listed(work)
    assert (entry["run_id"], entry["status"], entry["source"]) == (run_id, "completed", "python")


STOPPED = """
import json, sys
from backpropagate import Trainer, TrainingCallback

class Hooks(TrainingCallback):
    def on_step(self, step, metrics):
        self.step = step
    def should_stop(self):
        return self.step == 3

result = Trainer(sys.argv[1], lora_r=4, max_seq_length=128).train(
    [json.loads(line) for line in open(sys.argv[2])], steps=1000, callback=Hooks()
)
print(json.dumps([result.status, result.steps, result.total_steps]))
"""


def test_a_hook_can_stop_a_run_on_rows_from_memory(work, tiny, rows):
    done = run(work, "-W", "error::ResourceWarning", "-c", STOPPED, str(tiny), str(rows))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["stopped", 3, 1000]
    assert len(list((work / "output" / "data").iterdir())) == 1


def test_a_program_sees_ctrl_c_as_a_stop(work, tiny, rows):
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED.replace("== 3", "== -1"), str(tiny), str(rows)],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "step " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)[0] == "stopped"
    assert listed(work)[0]["status"] == "stopped"


DIES = """
import os, signal, sys
from backpropagate import Trainer, TrainingCallback

class Hooks(TrainingCallback):
    def on_step(self, step, metrics):
        if step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

trainer = Trainer(sys.argv[1], lora_r=4, max_seq_length=128, checkpoint_every=1, output_dir="output")
trainer.train(sys.argv[2], steps=40, callback=Hooks())
"""

GOES_ON = """
import json, sys
from backpropagate import Trainer

result = Trainer().train(sys.argv[1], resume_from=sys.argv[2])
print(json.dumps([result.run_id, result.status, result.steps]))
"""


def last_line_of_attempts(folder: Path) -> list[int]:
    """Return the steps of a run, those that a later attempt took again left out."""
    steps: list[int] = []
    for body in bodies(RunFolder(folder)):
        if isinstance(body, Metrics):
            steps.append(body.step)
        elif isinstance(body, RunResumed):
            del steps[body.step :]
    return steps


def test_a_run_killed_in_a_program_and_in_a_worker_goes_on_from_each_face(work, tiny, rows):
    died = run(work, "-c", DIES, str(tiny), str(rows))
    assert died.returncode == -signal.SIGKILL
    [entry] = listed(work)
    assert (entry["status"], entry["step"]) == ("interrupted", 3)
    folder = RunFolder(Path(entry["folder"]))
    process = subprocess.Popen(
        [sys.executable, "-m", "backpropagate", "resume", entry["run_id"][:8]],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(metrics(folder)) >= 8, "steps of the second attempt", timeout_s=120)
    os.kill(
        next(body.pid for body in reversed(bodies(folder)) if isinstance(body, RunStarted)), signal.SIGKILL
    )
    _out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "[RUNTIME_TRAINING_ABORTED]" in err
    done = run(work, "-c", GOES_ON, str(rows), entry["run_id"][:8])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [entry["run_id"], "completed", 40]
    assert last_line_of_attempts(folder.path) == list(range(1, 41))
    assert [entry["attempt"] for entry in listed(work)] == [3]
    assert all(body.step > 1 for body in bodies(folder) if isinstance(body, RunResumed))
