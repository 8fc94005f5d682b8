"""Anything may be pressed or killed in any order: nothing is lost, doubled, orphaned or left half.

`make test` plays 100 sequences, `make soak` 1,000. The processes are real, the training is plain Python;
`test_torch_kills.py` does the same to a torch worker.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from backprop_core import platform
from backprop_core.engine.checkpoints import CheckpointStore
from backprop_core.errors import StateError
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalReader
from backprop_core.jobs import queue
from backprop_core.jobs.launcher import ProcessLauncher
from backprop_core.runs.index import first_state
from backprop_core.runs.projection import RunState, apply_all
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from backprop_core.workspace import Workspace
from tests.support.chaos.recipe import DISK_FULL, loss_after
from tests.support.chaos.zygote import Zygote
from tests.support.stores import submit_run, wait_for

RUNS = st.integers(0, 5)
LENGTHS = st.sampled_from([3, 30, 80])
MOMENTS = st.sampled_from([0.0, 0.02, 0.06])
_REFUSED = {"STATE_RUN_NOT_ACTIVE", "STATE_RUN_LOCKED"}


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with tempfile.TemporaryDirectory() as folder:
        zygote = Zygote(Path(folder) / "socket")
        zygote.start()
        yield zygote
        zygote.close()


class Night(RuleBasedStateMachine):
    """A store with its scheduler, its workers and its app, under a user and under faults."""

    zygote: Zygote
    home: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.home, ignore_errors=True)
        self.ws = Workspace.open(ProcessLauncher())
        self.run_ids: list[str] = []
        # How often each run went into the queue.
        self.entries: Counter[str] = Counter()
        self.app: int | None = None
        self.root = self.ws.settings.sandbox_root / "runs"
        self.root.mkdir(parents=True)

    @initialize(steps=LENGTHS)
    def begin(self, steps: int) -> None:
        self.start(steps)

    @rule(steps=LENGTHS)
    def start(self, steps: int) -> None:
        if len(self.run_ids) < 3:
            self.run_ids.append(submit_run(self.ws, steps=steps))
            self.entries[self.run_ids[-1]] += 1

    @rule(which=RUNS)
    def pause(self, which: int) -> None:
        self._ask(which, runs.pause)

    @rule(which=RUNS)
    def unpause(self, which: int) -> None:
        self._ask(which, runs.unpause)

    @rule(which=RUNS)
    def stop(self, which: int) -> None:
        self._ask(which, runs.stop)

    @rule(moment=MOMENTS)
    def kill_and_resume(self, moment: float) -> None:
        self._wait_for_work(moment)
        self._kill("worker", signal.SIGKILL)
        wait_for(lambda: not self._works(), "the death")
        self.resume_all()

    @rule(which=RUNS)
    def resume(self, which: int) -> None:
        self._ask(which, self._resume)

    @rule(which=RUNS)
    def kill_run(self, which: int) -> None:
        self._ask(which, runs.kill)

    @rule(order=st.sampled_from([signal.SIGKILL, signal.SIGTERM]), moment=MOMENTS)
    def end_workers(self, order: signal.Signals, moment: float) -> None:
        self._wait_for_work(moment)
        self._kill("worker", order)

    @rule(moment=MOMENTS)
    def kill_scheduler(self, moment: float) -> None:
        time.sleep(moment)
        self._kill("scheduler", signal.SIGKILL)

    @rule(moment=MOMENTS)
    def kill_all(self, moment: float) -> None:
        self._wait_for_work(moment)
        self._kill("", signal.SIGKILL)
        self.app = None

    @rule()
    def resume_all(self) -> None:
        for state in runs.list_runs(self.ws, statuses=("stopped", "failed", "interrupted")):
            with contextlib.suppress(StateError):
                self._resume(self.ws, state.run_id)

    @rule()
    def start_app(self) -> None:
        if self.app is None:
            with (self.home / "logs" / "app.log").open("ab") as log:
                started = self.zygote.spawn_detached(
                    ["-m", "follower"], cwd=self.home, env=dict(os.environ), output=log
                )
            self.app = started.pid

    @rule()
    def kill_app(self) -> None:
        self._kill("follower", signal.SIGKILL)
        self.app = None

    @rule()
    def fill_disk(self) -> None:
        (self.root / DISK_FULL).touch()

    @rule()
    def free_disk(self) -> None:
        (self.root / DISK_FULL).unlink(missing_ok=True)

    @rule(seconds=st.sampled_from([0.01, 0.05]))
    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    @rule()
    def look(self) -> None:
        runs.list_runs(self.ws)

    @invariant()
    def journals_are_whole(self) -> None:
        for run_id in self.run_ids:
            require_whole(RunFolder(self.root / run_id))

    def teardown(self) -> None:
        try:
            self._settle_down()
            for run_id in self.run_ids:
                self._require_sound(run_id)
            assert self._told() <= self.entries, "an end was told twice"
        finally:
            self._kill("", signal.SIGKILL)
            wait_for(lambda: not self.zygote.living(), "the end of everything")
            self.ws.close()

    def _ask(self, which: int, wish: Callable[[Workspace, str], RunState]) -> None:
        if self.run_ids:
            try:
                wish(self.ws, self.run_ids[which % len(self.run_ids)])
            except StateError as error:
                assert error.code in _REFUSED, error

    def _resume(self, ws: Workspace, run_id: str) -> RunState:
        state = runs.resume(ws, run_id)
        self.entries[run_id] += 1
        return state

    def _works(self) -> bool:
        return any(RunFolder(self.root / run_id).is_worked_on() for run_id in self.run_ids)

    def _wait_for_work(self, moment: float) -> None:
        """Wait until a worker takes steps, if one is on its way, and then so long."""
        if not runs.list_runs(self.ws, statuses=("queued", "starting", "running")):
            return
        deadline = time.monotonic() + 0.15
        while not runs.list_runs(self.ws, statuses=("running",)) and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moment)

    def _kill(self, kind: str, order: signal.Signals) -> None:
        for pid, arguments in self.zygote.living().items():
            if arguments[0].startswith(kind):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, order)

    def _settle_down(self) -> None:
        """Let whoever waits go on and everything end by itself: nobody may be stuck, nothing may stay."""
        self.kill_app()
        self.free_disk()
        deadline = time.monotonic() + 20
        while active := [s for s in runs.list_runs(self.ws) if not s.is_terminal]:
            assert time.monotonic() < deadline, f"stuck: {active}"
            for state in active:
                control = RunFolder(Path(state.folder)).control()
                if control is not None and control.request == "pause":
                    with contextlib.suppress(StateError):
                        runs.unpause(self.ws, state.run_id)
            time.sleep(0.01)
        wait_for(lambda: not self.zygote.living(), "the end of scheduler and workers: no orphan")

    def _require_sound(self, run_id: str) -> None:
        folder = RunFolder(self.root / run_id)
        require_whole(folder)
        require_each_step_once(folder)
        store = CheckpointStore(folder.checkpoints)
        for step in store.steps():
            store.verify(step)
            assert float.fromhex((store.path(step) / "weight").read_text()) == loss_after(step)
        state = runs.get_run(self.ws, run_id)
        if state.attempt:
            assert self._told()[run_id] >= 1
        if state.status in {"completed", "stopped"} and state.artifact:
            assert (folder.adapter / "weight").is_file()
        told = apply_all(first_state(folder), JournalReader(folder.journal_path).read_all())
        assert (state.step, state.loss, state.seq) == (told.step, told.loss, told.seq)
        assert (state.status == "completed") == (told.status == "completed")

    def _told(self) -> Counter[str]:
        """Return how often each run's end stands in the outbox."""
        with self.ws.database.reading() as connection:
            return Counter(run_id for (run_id,) in connection.execute("SELECT run_id FROM outbox"))


def require_whole(folder: RunFolder) -> None:
    """Every line but an unfinished last one is JSON, and the numbers have no gap."""
    if not folder.journal_path.exists():
        return
    *lines, _ = folder.journal_path.read_bytes().split(b"\n")
    assert [orjson.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))


def require_each_step_once(folder: RunFolder) -> None:
    """One attempt after another, each from a checkpoint on, each step in it once and with its own loss."""
    attempt, expected = 0, 1
    for event in JournalReader(folder.journal_path).read_all():
        body = event.body
        if isinstance(body, ev.RunStarted):
            assert body.attempt == attempt + 1, "two owners, or an attempt was lost"
            attempt = body.attempt
        elif isinstance(body, ev.RunResumed):
            assert body.step < expected, "a step was left out"
            expected = body.step + 1
        elif isinstance(body, ev.Metrics):
            assert (body.step, body.loss) == (expected, loss_after(expected))
            expected += 1


def play(zygote: Zygote, home: Path, monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    """Play so many sequences; the draws are the same each time, the moments are not."""
    monkeypatch.setattr(platform, "spawn_detached", zygote.spawn_detached)
    monkeypatch.setattr(queue, "STOP_DEADLINE_S", 5.0)
    machine = type("Night", (Night,), {"zygote": zygote, "home": home})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_a_hundred_sequences_of_wishes_and_faults_lose_double_and_leave_nothing(
    zygote, own_home, monkeypatch
):
    play(zygote, own_home, monkeypatch, 100)


@pytest.mark.soak
def test_a_thousand_sequences_of_wishes_and_faults_lose_double_and_leave_nothing(
    zygote, own_home, monkeypatch
):
    play(zygote, own_home, monkeypatch, 1000)


def test_after_the_death_of_everything_at_once_a_run_goes_on(zygote, own_home, monkeypatch):
    monkeypatch.setattr(platform, "spawn_detached", zygote.spawn_detached)
    ws = Workspace.open(ProcessLauncher())
    run_id = submit_run(ws, steps=60)
    wait_for(lambda: runs.get_run(ws, run_id).step > 10, "some steps")
    for pid in zygote.living():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: runs.get_run(ws, run_id).status == "interrupted", "the end")
    runs.resume(ws, run_id)
    wait_for(lambda: not zygote.living(), "the end of the second attempt")
    assert (runs.get_run(ws, run_id).status, runs.get_run(ws, run_id).attempt) == ("completed", 2)
    require_each_step_once(RunFolder(ws.sandbox.path("runs", run_id)))
    ws.close()
