"""Memory that runs out inside a step costs no step and changes no result."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from backprop_core.engine.trainer import RunTrainer
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import BatchSplit, Notice
from tests.support.attempts import attempt, bodies, losses, metrics

OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
SPEC = {"steps": 6, "batch_size": 6, "gradient_accumulation": 1}


@pytest.fixture
def memory(monkeypatch):
    """Return a function that lets memory run out, after the gradient was touched, above some rows."""
    real = RunTrainer._add_gradient

    def limit(rows_that_fit: int, *, from_step: int = 0, error=OUT_OF_MEMORY):
        def adding(trainer, rows, supervised):
            loss = real(trainer, rows, supervised)
            is_recomputing = trainer._causal.is_gradient_checkpointing
            if trainer.state.global_step >= from_step and len(rows) > rows_that_fit and not is_recomputing:
                raise error
            return loss

        monkeypatch.setattr(RunTrainer, "_add_gradient", adding)

    return limit


def splits(folder):
    return [(body.step, body.before, body.after) for body in bodies(folder) if isinstance(body, BatchSplit)]


@pytest.mark.parametrize(
    "packing, fits, expected",
    [
        (True, 3, [(3, 6, 3)]),
        (False, 3, [(3, 6, 3)]),
        # Half the tokens of three rows hold one row alone.
        (True, 1, [(3, 6, 3), (3, 3, 2)]),
        (False, 1, [(3, 6, 3), (3, 3, 2), (3, 2, 1)]),
    ],
)
def test_a_run_whose_memory_runs_out_has_the_losses_of_one_whose_does_not(
    train, memory, packing, fits, expected
):
    undisturbed = train(packing=packing, **SPEC)
    memory(fits, from_step=2)
    disturbed = train(packing=packing, **SPEC)
    assert splits(disturbed) == expected
    assert losses(disturbed) == pytest.approx(losses(undisturbed), abs=1e-5)
    expected_weights, found = (
        load_file(folder.adapter / "adapter_model.safetensors") for folder in (undisturbed, disturbed)
    )
    assert all(torch.allclose(expected_weights[name], found[name], atol=1e-5) for name in found)
    assert [step.step for step in metrics(disturbed)] == [1, 2, 3, 4, 5, 6]


def test_an_allocator_that_speaks_another_way_is_understood(train, memory):
    memory(3, error=RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))
    assert splits(train(**SPEC)) == [(1, 6, 3)]


def test_at_a_single_row_activations_are_recomputed(train, memory):
    undisturbed = train(**SPEC)
    memory(0, from_step=1)
    folder = train(**SPEC)
    told = [body.message for body in bodies(folder) if isinstance(body, Notice)]
    assert told == ["Memory ran out in step 2; activations are recomputed from here on."]
    assert losses(folder) == pytest.approx(losses(undisturbed), abs=1e-5)


def test_when_nothing_is_left_to_try_the_run_ends_with_its_code(train, own_home, monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RunTrainer, "_add_gradient", never)
    with pytest.raises(BackpropagateError) as caught:
        attempt(train.new(**SPEC), own_home)
    assert caught.value.code == "RUNTIME_OOM_RECOVERY_EXHAUSTED"


def test_without_recovery_the_run_ends_at_once(train, own_home, memory):
    memory(3)
    folder = train.new(oom_recovery=False, **SPEC)
    with pytest.raises(BackpropagateError) as caught:
        attempt(folder, own_home)
    assert caught.value.code == "RUNTIME_GPU_OOM"
    assert splits(folder) == []


def test_another_error_is_not_taken_for_memory(train, own_home, memory):
    memory(3, error=RuntimeError("shapes do not match"))
    with pytest.raises(BackpropagateError) as caught:
        attempt(train.new(**SPEC), own_home)
    assert caught.value.code == "RUNTIME_TRAINING_FAILED"


def test_the_cut_that_was_found_is_kept_by_the_next_attempt(train, own_home, memory, monkeypatch):
    from backprop_core.engine import callbacks

    memory(3)
    folder = train.new(checkpoint_every=1, **SPEC)
    real = callbacks.StepReporter.on_step_begin

    def ordered(reporter, args, state, control, **rest):
        real(reporter, args, state, control, **rest)
        if state.global_step == 2:
            reporter._context.control.ordered.set()

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepReporter, "on_step_begin", ordered)
        attempt(folder, own_home)
    attempt(folder, own_home)
    assert splits(folder) == [(1, 6, 3)]


@pytest.mark.parametrize("recompute", ["on", "off"])
def test_recomputed_activations_give_the_same_losses(train, recompute):
    assert losses(train(gradient_checkpointing=recompute)) == pytest.approx(losses(train()), abs=1e-6)


def test_a_rehearsal_finds_out_before_the_first_step_and_leaves_no_trace(train, memory, monkeypatch):
    from backprop_core.engine import callbacks

    spec = {**SPEC, "lora_dropout": 0.1}
    plain = train(**spec)
    monkeypatch.setattr(callbacks, "must_rehearse", lambda _: True)
    assert losses(train(**spec)) == losses(plain)
    memory(3)
    rehearsed = train(**spec)
    told = [body.type for body in bodies(rehearsed) if body.type in {"batch.split", "metrics"}]
    assert told == ["batch.split", *["metrics"] * 6]
