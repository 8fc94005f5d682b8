"""The failure card: one for every code, with what helps, least change first."""

from __future__ import annotations

import pytest

from backprop_core.config.schema import train_fields
from backprop_core.config.settings import Settings
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import CATALOGUE, ErrorRecord
from backprop_core.runs.projection import RunState
from backprop_core.services.failure import SETTING_BY_CODE, card_of


def error(code: str, message: str = "It broke.", **details: str) -> ErrorRecord:
    kind = CATALOGUE[code]
    return ErrorRecord(code=code, message=message, hint=kind.hint, retryable=kind.retryable, details=details)


def run(**changes: object) -> RunState:
    facts = {
        "run_id": "0" * 8 + "-1",
        "folder": "/r",
        "name": "n",
        "source": "cli",
        "model": "m",
        "dataset": "d",
        "created_at": "2026-01-01T00:00:00+00:00",
        "status": "failed",
        "step": 12,
        "checkpoint_step": 10,
    }
    return RunState.model_validate(facts | changes)


SPEC = TrainSpec(batch_size=4, gradient_accumulation=4, max_seq_length=2048, lora_r=256)


def titles(code: str, spec: TrainSpec = SPEC, message: str = "It broke.") -> list[str]:
    return [fix.title for fix in card_of(error(code, message), run(), spec).fixes]


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_gives_a_card_with_cause_next_step_and_something_to_do(code):
    card = card_of(error(code), run(), SPEC, ["last words"])
    assert (card.code, card.message, card.log) == (code, "It broke.", ("last words",))
    assert card.cause.endswith((".", ")")) and card.next_step and card.safe_title
    assert card.fixes and all(fix.command.startswith("backprop ") for fix in card.fixes)


def test_every_named_setting_exists():
    fields = {field.name for field in train_fields()}
    known = fields | {name.replace("__", ".") for name in Settings.model_fields}
    assert set(SETTING_BY_CODE.values()) - known == set()


def test_every_code_whose_hint_names_a_flag_of_a_run_names_its_setting():
    flags = {field.flag.split("/")[0] for field in train_fields()} - {"--model"}
    named = {code for code, kind in CATALOGUE.items() if any(f"`{flag}" in kind.hint for flag in flags)}
    assert named - set(SETTING_BY_CODE) == set()


def test_out_of_memory_halves_the_batch_first_and_keeps_the_effective_batch():
    card = card_of(error("RUNTIME_GPU_OOM"), run(), SPEC)
    first = card.fixes[0]
    assert first.title == "Batch 4 to 2, accumulation 4 to 8"
    assert first.effect == "Same effective batch, less memory, a little slower. A new run from step 0."
    assert dict(first.overrides) == {"batch_size": "2", "gradient_accumulation": "8"}
    assert first.command == (
        "backprop replay 00000000 --override batch_size=2 --override gradient_accumulation=8"
    )
    assert card.setting == "batch_size"


@pytest.mark.parametrize("batch, smaller, more", [(2, 1, 8), (3, 1, 12), (6, 3, 8), (9, 3, 12), (7, 1, 28)])
def test_a_smaller_batch_divides_the_larger_one(batch, smaller, more):
    spec = SPEC.model_copy(update={"batch_size": batch})
    overrides = card_of(error("RUNTIME_GPU_OOM"), run(), spec).fixes[0].overrides
    assert overrides == {"batch_size": str(smaller), "gradient_accumulation": str(more)}


def test_a_batch_of_one_offers_a_shorter_length_and_a_lower_rank():
    spec = SPEC.model_copy(update={"batch_size": 1})
    assert titles("RUNTIME_GPU_OOM", spec) == [
        "Length 2,048 to 1,024 tokens",
        "Rank 256 to 16",
        "Resume at step 10",
    ]


def test_nothing_smaller_is_offered_where_nothing_is_left():
    spec = SPEC.model_copy(update={"batch_size": 1, "max_seq_length": 64, "lora_r": 8})
    assert titles("RUNTIME_GPU_OOM", spec) == ["Resume at step 10"]


@pytest.mark.parametrize(
    "code, first",
    [
        ("RUNTIME_LOSS_NOT_FINITE", "Learning rate 2e-4 to 5e-5"),
        ("DEP_GPU_NOT_AVAILABLE", "Device cpu"),
        ("RUNTIME_GPU_LOST", "Resume at step 10"),
        ("RUNTIME_DISK_FULL", "Resume at step 10"),
    ],
)
def test_the_first_fix_of_a_code(code, first):
    assert titles(code)[0] == first


def test_a_worker_killed_when_memory_ran_out_may_be_started_smaller():
    message = "The training process was killed, by the user or by the system when memory ran out."
    assert titles("RUNTIME_TRAINING_ABORTED", message=message)[:2] == [
        "Resume at step 10",
        "Batch 4 to 2, accumulation 4 to 8",
    ]


def test_full_mode_that_is_too_large_is_offered_as_lora():
    spec = SPEC.model_copy(update={"mode": "full"})
    assert titles("RUNTIME_FULL_FT_MODEL_TOO_LARGE", spec)[0] == "Method full to lora"


def test_an_error_at_a_field_names_the_field():
    assert card_of(error("INPUT_VALIDATION_FAILED", field="learning_rate")).setting == "learning_rate"


def test_without_a_run_nothing_is_offered_and_nothing_was_begun():
    card = card_of(error("RUNTIME_UI_PORT_IN_USE"))
    assert (card.fixes, card.setting, card.safe_title) == ((), "ui.port", "Nothing was begun")
