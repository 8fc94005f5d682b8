"""The run commands over real worker processes that need no torch, the command itself in this process."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from tests.support.listed_exports import finished_export
from tests.support.stores import submit_run, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.jsonl"
TRAIN = ["train", "-m", "smollm2-135m", "-d", str(EXAMPLE), "--lora-preset", "fast"]


def press_ctrl_c_when(condition, what):
    """Send SIGINT to this process from another thread once `condition` holds."""

    def wait_and_press():
        wait_for(condition, what)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_press, daemon=True)
    thread.start()
    return thread


def newest(ws):
    found = ws.database.list(limit=1)
    return found[0].state if found else None


def has_stepped(ws):
    state = newest(ws)
    return state is not None and runs.get_run(ws, state.run_id).step >= 2


def is_asked_to_stop(ws):
    control = RunFolder(Path(newest(ws).folder)).control()
    return control is not None and control.request == "stop"


def test_train_says_its_run_first_follows_it_and_prints_the_adapter(backprop, ws, tmp_path):
    code, out, err = backprop(*TRAIN, "--steps", 4)
    lines = err.splitlines()
    assert code == 0
    assert lines[0] == f"run_started run_id={newest(ws).run_id}"
    assert "step 4/4  loss 0.500  1,000 tokens/s" in err
    assert lines[-1] == "completed: 4 steps, loss 2.000 to 0.500, 1.0\u00a0s"
    assert out == f"{tmp_path / 'output' / 'lora'}\n"


def test_train_json_is_the_run(backprop, ws):
    code, out, _ = backprop(*TRAIN, "--steps", 3, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["schema_version"] == 1
    assert (document["run"]["status"], document["run"]["step"]) == ("completed", 3)
    assert "launch_id" not in document["run"]["info"]


def test_detach_prints_the_id_and_returns_before_the_end(backprop, ws):
    code, out, _ = backprop(*TRAIN, "--name", "slow", "--steps", 400, "--detach")
    assert code == 0
    run_id = out.strip()
    assert not runs.get_run(ws, run_id).is_terminal
    wait_for(lambda: runs.get_run(ws, run_id).step >= 1, "the detached run")


def test_dry_run_shows_the_plan_and_creates_nothing(backprop, ws, tmp_path):
    code, out, _ = backprop(*TRAIN, "--steps", 3, "--dry-run")
    assert code == 0
    assert "Rank" in out
    assert ws.database.count() == 0
    assert not (tmp_path / "output").exists()


def test_dry_run_json_tells_whether_the_run_could_start(backprop):
    _, out, _ = backprop(*TRAIN, "--dry-run", "--json")
    plan = json.loads(out)["plan"]
    assert plan["can_start"] is True
    assert plan["spec"]["lora_r"] == 16


def test_dry_run_of_what_cannot_start_is_an_error(backprop, ws):
    code, _, err = backprop("train", "-m", "smollm2-135m", "-d", "missing.jsonl", "--dry-run")
    assert code == 1
    assert "[INPUT_DATASET_NOT_FOUND]" in err


def test_ctrl_c_once_stops_at_the_next_step_and_exits_130(backprop, ws):
    press_ctrl_c_when(lambda: has_stepped(ws), "the second step")
    code, _, err = backprop(*TRAIN, "--name", "slow", "--steps", 2000)
    assert code == 130
    assert newest(ws).status == "stopped"
    assert "stopping after this step" in err


def test_ctrl_c_twice_ends_a_worker_that_does_not_listen(backprop, ws):
    press_ctrl_c_when(lambda: has_stepped(ws), "the second step")
    press_ctrl_c_when(lambda: has_stepped(ws) and is_asked_to_stop(ws), "the first stop")
    code, _, err = backprop(*TRAIN, "--name", "ignores-stop", "--steps", 2000)
    assert code == 130
    assert newest(ws).status == "interrupted"
    assert "ending the run at once" in err


def test_a_run_that_somebody_else_stops_exits_zero(backprop, ws):
    def stop():
        wait_for(lambda: has_stepped(ws), "the second step")
        runs.stop(ws, newest(ws).run_id)

    threading.Thread(target=stop, daemon=True).start()
    assert backprop(*TRAIN, "--name", "slow", "--steps", 2000)[0] == 0


def test_a_worker_that_dies_exits_two_with_code_and_hint(backprop, ws):
    code, out, err = backprop(*TRAIN, "--name", "dies-in-the-middle", "--steps", 10)
    assert code == 2
    assert out == ""
    assert "[RUNTIME_TRAINING_ABORTED]: The training process was killed" in err
    assert "hint: " in err


def test_watch_ends_with_the_run(backprop, ws):
    run_id = submit_run(ws, steps=4)
    code, _, err = backprop("watch", run_id[:8])
    assert code == 0
    assert "completed: 4 steps" in err


def test_ctrl_c_ends_the_watching_and_not_the_run(backprop, ws):
    run_id = submit_run(ws, name="slow", steps=2000)
    press_ctrl_c_when(lambda: has_stepped(ws), "the second step")
    code, _, err = backprop("watch", run_id)
    assert code == 130
    assert "the run goes on" in err
    assert not runs.get_run(ws, run_id).is_terminal


def test_watching_a_failed_run_exits_two(backprop, ws):
    run_id = submit_run(ws, name="dies-at-once")
    assert backprop("watch", run_id)[0] == 2


def test_stop_needs_only_the_beginning_of_an_id(backprop, ws):
    run_id = submit_run(ws, name="slow", steps=2000)
    wait_for(lambda: has_stepped(ws), "the second step")
    assert backprop("stop", run_id[:6])[0] == 0
    wait_for(lambda: runs.get_run(ws, run_id).status == "stopped", "the stop")


def test_stop_force_ends_a_worker_that_does_not_listen(backprop, ws):
    run_id = submit_run(ws, name="ignores-stop", steps=2000)
    wait_for(lambda: has_stepped(ws), "the second step")
    assert backprop("stop", run_id, "--force")[0] == 0
    wait_for(lambda: runs.get_run(ws, run_id).status == "interrupted", "the end")


def test_stopping_a_run_that_has_ended_is_the_users_mistake(backprop, ws):
    run_id = submit_run(ws)
    wait_for(lambda: runs.get_run(ws, run_id).is_terminal, "the run")
    code, _, err = backprop("stop", run_id)
    assert code == 1
    assert "[STATE_RUN_NOT_ACTIVE]" in err


@pytest.fixture
def two_runs(ws):
    first, second = submit_run(ws, steps=3), submit_run(ws, steps=5)
    for run_id in (first, second):
        wait_for(lambda run_id=run_id: runs.get_run(ws, run_id).status == "completed", "the run")
    return first, second


def test_the_list_shows_every_run_newest_first(backprop, two_runs):
    code, out, err = backprop("list-runs")
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["ID", two_runs[1][:8], two_runs[0][:8]]
    assert err == "2 of 2 runs\n"


def test_runs_is_the_same_list(backprop, two_runs):
    assert backprop("runs")[1] == backprop("list-runs")[1]


def test_the_list_as_json_has_whole_ids_and_a_version(backprop, two_runs):
    document = json.loads(backprop("list-runs", "--json", "--limit", 1)[1])
    assert document["schema_version"] == 1
    assert [run["run_id"] for run in document["runs"]] == [two_runs[1]]


def test_the_list_can_be_cut_by_status(backprop, two_runs):
    assert json.loads(backprop("list-runs", "--json", "--status", "failed")[1])["runs"] == []
    code, _, err = backprop("list-runs", "--status", "done")
    assert code == 1
    assert "'done' is no status of a run" in err


def test_show_run_tells_state_settings_and_origins(backprop, two_runs):
    code, out, _ = backprop("show-run", two_runs[0][:7])
    assert code == 0
    assert f"Run      {two_runs[0]}" in out
    assert "Loss      █" in out
    assert "steps" in out
    assert "preset quality" not in out


def test_a_prefix_of_two_runs_is_refused(backprop, ws, monkeypatch):
    code, _, err = backprop("show-run", "")
    assert code == 1
    assert "[INPUT_RUN_NOT_FOUND]" in err


def test_diff_shows_only_what_differs(backprop, two_runs):
    document = json.loads(backprop("diff-runs", *two_runs, "--json")[1])
    assert document["differences"]["steps"] == [3, 5]
    assert "learning_rate" not in document["differences"]


@pytest.fixture
def an_export(ws, tmp_path):
    return finished_export(ws, tmp_path / "tuned.gguf")


def test_the_list_holds_exports_too_and_can_be_cut_by_kind(backprop, two_runs, an_export):
    assert [line.split()[:3] for line in backprop("list-runs")[1].splitlines()[1:]] == [
        [an_export[:8], "export", "completed"],
        [two_runs[1][:8], "train", "completed"],
        [two_runs[0][:8], "train", "completed"],
    ]
    shown = json.loads(backprop("list-runs", "--kind", "export", "--json")[1])["runs"]
    assert [run["run_id"] for run in shown] == [an_export]


def test_show_run_tells_what_an_export_made_and_no_steps(backprop, an_export, tmp_path):
    code, out, _ = backprop("show-run", an_export[:8])
    assert code == 0
    assert f"Export   {tmp_path / 'tuned.gguf'}" in out
    assert "quantization    q8_0" in out
    assert "Steps" not in out
    document = json.loads(backprop("show-run", an_export, "--json")[1])["run"]
    assert (document["spec"]["format"], document["origins"]) == ("gguf", {})


def test_two_exports_can_be_compared_but_not_with_a_training_run(backprop, ws, an_export, two_runs, tmp_path):
    other = finished_export(ws, tmp_path / "small.gguf", quantization="q2_k")
    found = json.loads(backprop("diff-runs", an_export, other, "--json")[1])["differences"]
    assert found["quantization"] == ["q8_0", "q2_k"]
    code, _, err = backprop("diff-runs", an_export, two_runs[0])
    assert code == 1
    assert "no settings in common" in err


def test_exports_stand_in_the_table_with_their_own_settings(backprop, two_runs, an_export):
    rows = list(csv.DictReader(io.StringIO(backprop("export-runs", "--format", "csv")[1])))
    assert [(row["kind"], row["spec.format"], row["spec.steps"]) for row in rows] == [
        ("export", "gguf", ""),
        ("train", "", "5"),
        ("train", "", "3"),
    ]


def test_a_run_whose_folder_is_gone_is_named_and_left_out_of_the_table(backprop, ws, two_runs):
    folder = Path(runs.get_run(ws, two_runs[0]).folder)
    wait_for(lambda: not RunFolder(folder).is_worked_on(), "the end of the worker")
    shutil.rmtree(folder)
    code, out, err = backprop("export-runs")
    assert code == 0
    assert [json.loads(line)["run_id"] for line in out.splitlines()] == [two_runs[1]]
    assert f"warning: run {two_runs[0][:8]} is left out" in err


def test_export_as_json_lines_and_as_table_hold_every_run(backprop, two_runs, tmp_path):
    lines = [json.loads(line) for line in backprop("export-runs")[1].splitlines()]
    assert [line["run_id"] for line in lines] == [two_runs[1], two_runs[0]]
    backprop("export-runs", "--format", "csv", "-o", tmp_path / "runs.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert [row["spec.steps"] for row in rows] == ["5", "3"]


def test_delete_asks_first_and_deletes_nothing_without_an_answer(backprop, ws, two_runs, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, _, err = backprop("delete-run", two_runs[0])
    assert code == 1
    assert "nothing was deleted" in err
    assert Path(runs.get_run(ws, two_runs[0]).folder).is_dir()


def test_delete_with_yes_removes_run_and_folder(backprop, ws, two_runs):
    folder = Path(runs.get_run(ws, two_runs[0]).folder)
    wait_for(lambda: not RunFolder(folder).is_worked_on(), "the end of the worker")
    assert backprop("delete-run", two_runs[0], "--yes")[0] == 0
    assert not folder.exists()
    assert ws.database.count() == 1


def test_a_working_run_is_not_deleted(backprop, ws):
    run_id = submit_run(ws, name="slow", steps=2000)
    wait_for(lambda: has_stepped(ws), "the second step")
    code, _, err = backprop("delete-run", run_id, "--yes")
    assert code == 1
    assert "[STATE_RUN_LOCKED]" in err
    assert Path(runs.get_run(ws, run_id).folder).is_dir()
