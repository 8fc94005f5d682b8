"""Pause, unpause, resume and replay over real worker processes that need no torch."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from backprop_core.errors import InputError
from backprop_core.events.types import Metrics
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from tests.support.attempts import bodies
from tests.support.listed_exports import finished_export
from tests.support.stores import submit_run, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.jsonl"
TRAIN = ["train", "-m", "smollm2-135m", "-d", str(EXAMPLE), "--lora-preset", "fast"]


def status(ws, run_id):
    return runs.get_run(ws, run_id).status


def folder_of(ws, run_id):
    return RunFolder(Path(runs.get_run(ws, run_id).folder))


def when(condition, act):
    """Do something from another thread once a condition holds."""

    def wait_and_act():
        wait_for(condition, "the moment to act")
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()


def stopped_run(ws, *, steps=60):
    """Return a run that was stopped after its second step, its worker gone."""
    run_id = submit_run(ws, name="slow", steps=steps)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 2, "two steps")
    runs.stop(ws, run_id)
    wait_for(lambda: status(ws, run_id) == "stopped", "the stop")
    wait_for(lambda: not folder_of(ws, run_id).is_worked_on(), "the end of the worker")
    return run_id


def steps_of(ws, run_id):
    return [body.step for body in bodies(folder_of(ws, run_id)) if isinstance(body, Metrics)]


def test_pause_holds_a_run_and_unpause_lets_it_go_on(backprop, ws):
    run_id = submit_run(ws, name="slow", steps=2000)
    wait_for(lambda: runs.get_run(ws, run_id).step >= 2, "two steps")
    code, out, err = backprop("pause", run_id[:8])
    assert (code, out) == (0, "")
    assert f"`backprop unpause {run_id[:8]}`" in err
    wait_for(lambda: status(ws, run_id) == "paused", "the pause")
    code, out, _ = backprop("unpause", run_id, "--json")
    assert (code, json.loads(out)["run"]["run_id"]) == (0, run_id)
    wait_for(lambda: status(ws, run_id) == "running", "the run to go on")


@pytest.mark.parametrize("word", ["pause", "unpause"])
def test_what_has_ended_cannot_be_paused(backprop, ws, word):
    run_id = submit_run(ws, steps=3)
    wait_for(lambda: status(ws, run_id) == "completed", "the run")
    code, _, err = backprop(word, run_id)
    assert code == 1
    assert "[STATE_RUN_NOT_ACTIVE]" in err


def test_an_export_cannot_be_paused(backprop, ws, tmp_path):
    code, _, err = backprop("pause", finished_export(ws, tmp_path / "x.gguf"))
    assert code == 1
    assert "is a job of kind export" in err


def test_resume_follows_the_next_attempt_alone_and_takes_each_step_once(backprop, ws):
    run_id = stopped_run(ws, steps=20)
    reached = runs.get_run(ws, run_id).step
    code, _, err = backprop("resume", run_id[:8])
    assert code == 0, err
    lines = err.splitlines()
    assert lines[0] == f"run_started run_id={run_id}"
    assert lines[-1].startswith("completed: 20 steps")
    assert f"step {reached}/20" not in err
    assert steps_of(ws, run_id) == list(range(1, 21))


def test_resume_after_a_kill_goes_on(backprop, ws):
    run_id = submit_run(ws, name="dies-in-the-middle", steps=6)
    wait_for(lambda: status(ws, run_id) == "interrupted", "the kill")
    code, _, err = backprop("resume", run_id)
    assert code == 0, err
    assert steps_of(ws, run_id) == [1, 2, 3, 4, 5, 6]


def test_resume_detached_prints_the_id_and_returns(backprop, ws):
    run_id = stopped_run(ws, steps=2000)
    code, out, _ = backprop("resume", run_id, "--detach")
    assert (code, out) == (0, f"{run_id}\n")
    wait_for(lambda: status(ws, run_id) == "running", "the next attempt")
    assert runs.get_run(ws, run_id).attempt == 2


def test_train_resume_is_the_same(backprop, ws):
    run_id = stopped_run(ws, steps=10)
    code, out, _ = backprop("train", "--resume", run_id, "--json")
    document = json.loads(out)["run"]
    assert (code, document["status"], document["attempt"]) == (0, "completed", 2)


@pytest.mark.parametrize("more", [["--steps", "9"], ["--dry-run"], ["--no-packing"]])
def test_train_resume_takes_no_other_settings(backprop, ws, more):
    run_id = stopped_run(ws)
    code, _, err = backprop("train", "--resume", run_id, *more)
    assert code == 1
    assert f"{more[0].replace('--no-', '--')} cannot be given with --resume" in err
    assert status(ws, run_id) == "stopped"


def test_what_is_completed_or_still_works_is_not_resumed(backprop, ws):
    done = submit_run(ws, steps=2)
    wait_for(lambda: status(ws, done) == "completed", "the run")
    code, _, err = backprop("resume", done)
    assert (code, "[STATE_RUN_NOT_ACTIVE]" in err) == (1, True)
    working = submit_run(ws, name="slow", steps=2000)
    wait_for(lambda: runs.get_run(ws, working).step >= 1, "a step")
    code, _, err = backprop("resume", working)
    assert (code, "[STATE_RUN_LOCKED]" in err) == (1, True)


def test_ctrl_c_stops_what_was_resumed(backprop, ws):
    run_id = stopped_run(ws, steps=2000)
    reached = runs.get_run(ws, run_id).step
    when(lambda: runs.get_run(ws, run_id).step > reached + 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert backprop("resume", run_id)[0] == 130
    assert status(ws, run_id) == "stopped"


def test_a_run_cannot_go_on_in_a_program_while_a_worker_has_it(ws):
    run_id = stopped_run(ws, steps=2000)
    runs.resume(ws, run_id)
    with pytest.raises(Exception, match="has not ended"):
        runs.resumable_here(ws, run_id)


def test_an_export_does_not_go_on_inside_a_program(ws, tmp_path):
    with pytest.raises(InputError, match="is a job of kind export"):
        runs.resumable_here(ws, finished_export(ws, tmp_path / "x.gguf"))


@pytest.fixture
def old(backprop, ws):
    """Return the id of a completed run with a few settings of its own."""
    code, _, err = backprop(*TRAIN, "--steps", 3, "--seed", 7, "--lr", "1e-3", "--lora-r", "4", "--json")
    assert code == 0, err
    return ws.database.list(limit=1)[0].state.run_id


def spec_of(ws, run_id):
    return runs.run_detail(ws, run_id).training


def test_replay_starts_a_new_run_with_equal_settings_whatever_the_environment_says(
    backprop, ws, old, monkeypatch
):
    monkeypatch.setenv("BACKPROPAGATE_TRAINING__EPOCHS", "9")
    monkeypatch.setenv("BACKPROPAGATE_TRAINING__SEED", "1")
    code, out, err = backprop("replay", old[:8], "--json")
    new = json.loads(out)["run"]["run_id"]
    assert code == 0, err
    assert new != old
    assert spec_of(ws, new) == spec_of(ws, old)


def test_an_override_changes_its_field_and_what_follows_from_it(backprop, ws, old):
    code, out, _ = backprop(
        "replay", old, "--override", "lr=5e-4", "--override", "lora_r=32", "--detach", "--json"
    )
    assert code == 0
    spec = spec_of(ws, json.loads(out)["run"]["run_id"])
    assert (spec.learning_rate, spec.lora_r, spec.seed, spec.steps) == (5e-4, 32, 7, 3)
    assert (spec_of(ws, old).lora_alpha, spec.lora_alpha) == (8, 32)


def test_overridden_epochs_take_the_place_of_the_old_steps_and_the_other_way_round(backprop, ws, old):
    first = backprop("replay", old, "--override", "epochs=4", "--detach")[1].strip()
    assert (spec_of(ws, first).epochs, spec_of(ws, first).steps) == (4, 4)
    second = backprop("replay", first, "--override", "steps=2", "--detach")[1].strip()
    assert (spec_of(ws, second).epochs, spec_of(ws, second).steps) == (None, 2)


def test_replay_dry_run_shows_the_plan_and_creates_nothing(backprop, ws, old):
    code, out, _ = backprop("replay", old, "--override", "steps=9", "--dry-run", "--json")
    assert (code, json.loads(out)["plan"]["spec"]["steps"]) == (0, 9)
    assert ws.database.count() == 1


@pytest.mark.parametrize(
    ("word", "named"),
    [("steps", "FIELD=VALUE"), ("=3", "FIELD=VALUE"), ("stepz=3", "stepz"), ("steps=none-at-all", "Steps")],
)
def test_an_override_that_cannot_be_is_the_users_mistake(backprop, ws, old, word, named):
    code, _, err = backprop("replay", old, "--override", word)
    assert code == 1
    assert "[INPUT_VALIDATION_FAILED]" in err
    assert named in err
    assert ws.database.count() == 1


def test_replay_says_that_the_data_has_changed(backprop, ws, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(EXAMPLE.read_bytes())
    backprop(*TRAIN, "-d", rows, "--steps", 2)
    run_id = ws.database.list(limit=1)[0].state.run_id
    rows.write_bytes(EXAMPLE.read_bytes() * 2)
    _, _, err = backprop("replay", run_id, "--dry-run")
    assert f"warning: {rows} has changed since run {run_id[:8]}" in err


def test_an_export_is_not_replayed(backprop, ws, tmp_path):
    code, _, err = backprop("replay", finished_export(ws, tmp_path / "x.gguf"))
    assert code == 1
    assert "is a job of kind export" in err
