"""A card that gets hot in the middle of a run, played by a reader that follows a script."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from itertools import chain, repeat

import pytest

from backprop_core.engine import recording
from backprop_core.engine.context import open_run
from backprop_core.engine.execution import execute
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import CheckpointSaved, RunPaused, TelemetrySampled
from backprop_core.runs.store import RunFolder
from backprop_core.telemetry.gpu import GpuSample
from backprop_core.telemetry.sampler import Sampler
from tests.support.attempts import bodies, metrics, types

HOT, COOL = GpuSample(margin_c=3.0, temperature_c=88.0), GpuSample(margin_c=20.0, temperature_c=60.0)


@pytest.fixture
def train_with(train, own_home, monkeypatch):
    """Return a function that makes an attempt with a played card, ten seconds between its readings."""

    def run(read: Callable[[RunFolder], GpuSample], **spec):
        monkeypatch.setattr(recording, "INTERVAL_S", 0.002)
        seconds = iter(range(0, 10**9, 10))
        folder = train.new(steps=60, **spec)
        own_home.mkdir(exist_ok=True)
        with open_run(folder.path, own_home) as context:
            sampler = Sampler(read_gpu=lambda: read(folder), clock=lambda: float(next(seconds)))
            execute(dataclasses.replace(context, sampler=sampler))
        return folder

    return run


def test_a_hot_card_pauses_the_run_after_a_checkpoint_and_lets_it_go_on_when_cool(train_with):
    folder = train_with(lambda folder: COOL if "run.paused" in types(folder) else HOT)
    paused = next(body for body in bodies(folder) if isinstance(body, RunPaused))
    assert paused.code == "RUNTIME_GPU_TEMPERATURE_CRITICAL"
    assert paused.reason == "the card is 3 °C below its slowdown temperature"
    assert next(body for body in bodies(folder) if isinstance(body, CheckpointSaved)).step == paused.step
    told = types(folder)
    assert told[told.index("run.paused") + 1] == "run.continued"
    assert told[-1] == "run.completed"
    assert [step.step for step in metrics(folder)] == list(range(1, 61))


def test_a_card_that_stays_hot_through_every_pause_ends_the_run(train_with):
    # Hot for a minute, cool for a minute and a half, and so on for ever.
    script = chain.from_iterable(repeat([*[HOT] * 20, *[COOL] * 9]))
    with pytest.raises(BackpropagateError) as caught:
        train_with(lambda _: next(script))
    assert caught.value.code == "RUNTIME_GPU_TEMPERATURE_CRITICAL"


def test_heat_can_be_ignored(train_with):
    folder = train_with(lambda _: HOT, pause_on_overheat=False)
    assert "run.paused" not in types(folder)


def test_a_reader_that_hangs_does_not_hold_the_run(train_with):
    folder = train_with(lambda _: threading.Event().wait() or HOT)
    assert types(folder)[-1] == "run.completed"


def test_telemetry_stands_in_the_journal_and_nothing_after_the_last_word(train_with):
    folder = train_with(lambda _: COOL)
    told = bodies(folder)
    assert any(isinstance(body, TelemetrySampled) and body.gpu_temperature_c == 60.0 for body in told)
    assert told[-1].type == "run.completed"
