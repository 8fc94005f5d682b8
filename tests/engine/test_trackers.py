"""Trackers get the figures of each step, and never end a run."""

from __future__ import annotations

from typing import ClassVar

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.engine import trackers
from backprop_core.engine.trackers import chosen_trackers
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import Notice
from tests.support.attempts import bodies, metrics, types


class FakeTracker:
    """Keeps what it is told, as the integrations of the trainer would pass it on."""

    told: ClassVar[list[tuple[str, object]]] = []

    def on_train_begin(self, args, state, control, **_):
        self.told.append(("begin", args.run_name))

    def on_log(self, args, state, control, logs=None, **_):
        self.told.append(("log", dict(logs)))

    def on_train_end(self, args, state, control, **_):
        self.told.append(("end", state.global_step))


class BrokenTracker(FakeTracker):
    """Fails at the first figures, as when a server goes away."""

    def on_log(self, *_, **__):
        raise ConnectionError("no route to host")


@pytest.fixture
def installed(monkeypatch):
    """Return a function that puts a tracker in the place of TensorBoard."""

    def put(tracker):
        FakeTracker.told = []
        monkeypatch.setattr(trackers, "_is_installed", lambda name: name == "tensorboard")
        monkeypatch.setitem(trackers.INTEGRATION_TO_CALLBACK, "tensorboard", tracker)

    return put


def test_a_tracker_gets_each_step_under_the_name_of_the_run(train, installed):
    installed(FakeTracker)
    folder = train(steps=2)
    kinds = [kind for kind, _ in FakeTracker.told]
    assert kinds == ["begin", "log", "log", "end"]
    assert FakeTracker.told[0][1] == folder.path.name
    assert FakeTracker.told[1][1]["loss"] == metrics(folder)[0].loss


def test_a_tracker_that_fails_is_let_go_and_the_run_goes_on(train, installed):
    installed(BrokenTracker)
    folder = train(steps=3)
    assert types(folder)[-1] == "run.completed"
    told = [body.message for body in bodies(folder) if isinstance(body, Notice)]
    assert told == ["The tracker tensorboard failed and gets no more figures; the run goes on."]


def test_none_means_none(train, installed):
    installed(FakeTracker)
    train(steps=1, report_to="none")
    assert FakeTracker.told == []


def test_wandb_is_taken_only_with_a_login(monkeypatch, tmp_path):
    monkeypatch.setattr(trackers, "_is_installed", lambda name: True)
    monkeypatch.setattr(trackers.Path, "home", lambda: tmp_path)
    assert chosen_trackers("auto", {}) == ["tensorboard", "mlflow"]
    assert chosen_trackers("auto", {"WANDB_API_KEY": "x"}) == ["tensorboard", "wandb", "mlflow"]


def test_a_named_tracker_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(trackers, "_is_installed", lambda name: False)
    with pytest.raises(BackpropagateError) as caught:
        chosen_trackers("mlflow")
    assert caught.value.code == "DEP_EXTRA_MISSING"


def test_several_trackers_are_named_with_commas_or_as_a_list():
    assert TrainSpec(report_to=["wandb", "mlflow"]).report_to == "wandb,mlflow"


def test_an_unknown_tracker_is_no_value():
    with pytest.raises(ValueError, match="report_to"):
        TrainSpec(report_to="somewhere")
