from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.config.schema import train_fields
from backprop_core.config.specs import TrainSpec
from backprop_core.planning.plan import effective_spec, make_plan
from backprop_core.planning.records import Derived, MeasuredSpeed, Plan
from backprop_core.units import GIB
from tests.support.plans import LARGE, PROCESSOR, data, facts, machine_with_card, model

AUTO = {"dataset": "d.jsonl", "lora_preset": "auto", "lora_r": "auto"}
ON_CARD = {
    "machine": machine_with_card(),
    "model": model(LARGE, "Qwen/Qwen2.5-7B-Instruct"),
    "data": data(
        18_204, tokens=840, supervised=286, longest_tokens=3310, p95_tokens=1800, truncated_rows=146
    ),
}


def _derived(plan: Plan, field: str) -> Derived:
    return next(item for item in plan.derived if item.field == field)


def _plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_a_small_model_on_a_processor_can_start():
    plan = make_plan(TrainSpec(**AUTO), facts())
    assert plan.problems == ()
    assert (plan.device, plan.precision, plan.fits) == ("cpu", "bf16", True)


def test_every_auto_of_the_planner_is_decided():
    spec = TrainSpec(**AUTO)
    found = effective_spec(spec, make_plan(spec, facts()))
    assert (found.lora_r, found.lora_alpha) == (16, 32.0)
    assert (found.batch_size, found.gradient_accumulation, found.checkpoint_every) == (8, 1, 10)
    assert (found.quantization, found.optim, found.gradient_checkpointing, found.device) == (
        "none",
        "adamw_torch",
        "off",
        "cpu",
    )


def test_the_effective_spec_keeps_what_the_user_set():
    spec = TrainSpec(dataset="d", lora_r=64, lora_alpha=128, batch_size=2, seed=7, checkpoint_every=3)
    found = effective_spec(spec, make_plan(spec, facts()))
    assert (found.lora_r, found.lora_alpha, found.batch_size, found.seed, found.checkpoint_every) == (
        64,
        128,
        2,
        7,
        3,
    )


def test_planning_the_effective_spec_again_changes_nothing():
    spec = TrainSpec(**AUTO)
    once = effective_spec(spec, make_plan(spec, facts()))
    assert effective_spec(once, make_plan(once, facts())) == once


def test_alpha_follows_the_derived_rank():
    plan = make_plan(TrainSpec(**AUTO), facts())
    assert (plan.choices.lora_r, plan.choices.lora_alpha) == (16, 32.0)


def test_amounts_are_those_of_the_whole_run():
    plan = make_plan(TrainSpec(dataset="d", steps=None, epochs=2), facts())
    assert (plan.steps, plan.epochs, plan.rows) == (25, 2.0, 200)
    assert (plan.tokens, plan.supervised_tokens) == (60_000, 20_000)
    assert plan.supervised_share == pytest.approx(1 / 3)


def test_estimated_token_figures_are_marked():
    assert make_plan(TrainSpec(dataset="d"), facts(data=data(is_estimate=True))).tokens_are_estimate


def test_seven_billion_on_sixteen_gib_take_four_bit_and_say_why():
    plan = make_plan(TrainSpec(**AUTO), facts(**ON_CARD))
    weights = _derived(plan, "quantization")
    assert weights.value == "4-bit nf4"
    assert _plain(weights.reason).startswith("bf16 needs ")
    assert plan.fits
    assert plan.problems == ()


def test_a_card_with_room_keeps_the_weights_unquantized():
    plan = make_plan(TrainSpec(**AUTO), facts(**{**ON_CARD, "machine": machine_with_card(70)}))
    assert plan.choices.quantization == "none"
    assert _derived(plan, "quantization").reason == "fits unquantized"


def test_a_given_quantization_is_kept():
    plan = make_plan(TrainSpec(**AUTO, quantization="8bit"), facts(**ON_CARD))
    assert plan.choices.quantization == "8bit"


def test_a_derived_plan_leaves_five_percent_of_the_card():
    plan = make_plan(TrainSpec(**AUTO), facts(**ON_CARD))
    assert plan.peak_bytes is not None
    assert plan.peak_bytes <= 0.95 * plan.free_bytes


def test_less_memory_gives_a_smaller_micro_batch_and_the_same_step():
    roomy = make_plan(TrainSpec(**AUTO), facts(**{**ON_CARD, "machine": machine_with_card(23)}))
    tight = make_plan(TrainSpec(**AUTO), facts(**{**ON_CARD, "machine": machine_with_card(9)}))
    assert tight.choices.batch_size < roomy.choices.batch_size
    assert tight.choices.batch_size * tight.choices.gradient_accumulation == 8
    assert roomy.choices.batch_size * roomy.choices.gradient_accumulation == 8


def test_activations_are_kept_where_they_fit():
    assert make_plan(TrainSpec(**AUTO), facts()).choices.gradient_checkpointing == "off"
    tight = make_plan(TrainSpec(**AUTO), facts(**ON_CARD))
    assert tight.choices.gradient_checkpointing == "on"
    assert _plain(_derived(tight, "gradient_checkpointing").reason).startswith("without it ")


def test_an_eight_bit_optimizer_on_a_card_and_a_plain_one_on_a_processor():
    assert make_plan(TrainSpec(**AUTO), facts(**ON_CARD)).choices.optim == "adamw_8bit"
    assert make_plan(TrainSpec(**AUTO), facts()).choices.optim == "adamw_torch"


def test_a_card_without_bf16_computes_in_fp32():
    machine = machine_with_card(has_bf16=False)
    assert make_plan(TrainSpec(**AUTO), facts(machine=machine)).precision == "fp32"


def test_the_rank_says_which_preset_chose_it():
    plan = make_plan(TrainSpec(dataset="d"), facts())
    rank = _derived(plan, "lora_r")
    assert (rank.value, rank.aside, rank.reason) == ("256", "alpha 32", "preset quality")


def test_the_rank_of_auto_says_what_it_covers():
    plan = make_plan(TrainSpec(**AUTO), facts(data=data(100_000, tokens=300, supervised=100)))
    rank = _derived(plan, "lora_r")
    assert (rank.value, _plain(rank.reason)) == ("64", "covers 10 M tokens")


def test_a_rank_of_the_users_own_is_called_set():
    assert _derived(make_plan(TrainSpec(dataset="d", lora_r=48), facts()), "lora_r").reason == "set"


def test_the_length_says_how_many_rows_it_cuts():
    plan = make_plan(TrainSpec(**AUTO), facts(**ON_CARD))
    length = _derived(plan, "max_seq_length")
    assert (length.value, length.reason) == ("2,048 tokens", "146 rows are cut")
    assert length.detail == (
        "The longest row has 3,310 tokens, 19 of 20 have at most 1,800. 146 of 18,204 rows are longer "
        "and lose their end. Memory is planned for the longest."
    )


def test_the_batch_shows_how_it_is_made_up():
    batch = _derived(make_plan(TrainSpec(**AUTO), facts()), "batch_size")
    assert (batch.value, batch.aside, batch.reason) == ("8", "8 × 1 accumulated", "fits the memory")


def test_few_rows_bound_the_batch():
    batch = _derived(make_plan(TrainSpec(**AUTO), facts(data=data(5))), "batch_size")
    assert (batch.value, batch.aside, batch.reason) == ("5", "5 × 1 accumulated", "all rows of the data")


def test_every_derived_value_has_a_reason_and_a_paragraph():
    for plan in (
        make_plan(TrainSpec(**AUTO), facts()),
        make_plan(TrainSpec(), facts(data=None, model=model(None))),
    ):
        for item in plan.derived:
            assert item.value
            assert 0 < len(item.reason) <= 40
            assert item.detail.endswith(".")


def test_derived_values_stand_for_fields_of_the_schema():
    names = {field.name for field in train_fields()}
    assert {item.field for item in make_plan(TrainSpec(**AUTO), facts()).derived} <= names


def test_a_rank_that_does_not_fit_is_refused_with_the_way_out():
    plan = make_plan(TrainSpec(dataset="d"), facts(**{**ON_CARD, "machine": machine_with_card(7)}))
    assert plan.fits is False
    assert [problem.code for problem in plan.problems] == ["RUNTIME_GPU_OOM"]


def test_what_does_not_fit_suggests_the_rank_that_does():
    plan = make_plan(TrainSpec(dataset="d"), facts(**{**ON_CARD, "machine": machine_with_card(9)}))
    assert plan.suggestion is not None
    assert plan.suggestion.text.startswith("Rank 256 does not fit.")
    assert (plan.suggestion.field, plan.suggestion.value) == ("lora_preset", "auto")


def test_taking_the_suggestion_makes_the_run_fit():
    given = facts(**{**ON_CARD, "machine": machine_with_card(9)})
    plan = make_plan(TrainSpec(dataset="d"), given)
    assert plan.suggestion is not None
    layer = Layer("explicit", {"dataset": "d", plan.suggestion.field: plan.suggestion.value})
    assert make_plan(resolve_train([layer]).spec, given).fits


def test_unquantized_weights_that_do_not_fit_suggest_four_bit():
    spec = TrainSpec(dataset="d", lora_r=16, quantization="none")
    plan = make_plan(spec, facts(**ON_CARD))
    assert plan.suggestion is not None
    assert (plan.suggestion.field, plan.suggestion.value) == ("quantization", "4bit")


def test_rows_that_are_too_long_suggest_a_shorter_length():
    spec = TrainSpec(dataset="d", lora_r=16, max_seq_length=32_768)
    rows = data(100, tokens=30_000, supervised=10_000)
    plan = make_plan(spec, facts(**{**ON_CARD, "data": rows, "machine": machine_with_card(9)}))
    assert plan.suggestion is not None
    assert plan.suggestion.field == "max_seq_length"


def test_a_rank_far_above_the_data_suggests_auto():
    plan = make_plan(TrainSpec(dataset="d"), facts())
    assert plan.suggestion is not None
    assert _plain(plan.suggestion.text).startswith(
        "Rank 16 would be enough for 10 k tokens. Auto would take it: about "
    )


def test_auto_itself_gets_no_suggestion():
    assert make_plan(TrainSpec(**AUTO), facts()).suggestion is None


def test_a_measured_speed_gives_the_time_and_its_source():
    plan = make_plan(TrainSpec(dataset="d"), facts(speed=MeasuredSpeed(1000.0, "measured here")))
    assert plan.time_source == "at 1,000 tokens/s, measured here"
    assert plan.time_s is not None
    # 240,000 tokens and the start of the worker.
    assert 240 < plan.time_s < 260


def test_without_a_measured_speed_the_time_is_called_rough():
    assert make_plan(TrainSpec(dataset="d"), facts()).time_source == "rough, from the number of cores"
    assert make_plan(TrainSpec(**AUTO), facts(**ON_CARD)).time_source == "rough, from the card's data sheet"


def test_an_unknown_card_gives_no_time():
    machine = machine_with_card()
    assert machine.gpu is not None
    unknown = replace(machine, gpu=replace(machine.gpu, name="NVIDIA Graphics Device"))
    plan = make_plan(TrainSpec(**AUTO), facts(**{**ON_CARD, "machine": unknown}))
    assert (plan.time_s, plan.time_source) == (None, "known after the first steps")


def test_disk_counts_the_download_too():
    here = make_plan(TrainSpec(dataset="d"), facts())
    away = make_plan(TrainSpec(dataset="d"), facts(model=model(download_bytes=270_000_000, source="hub")))
    assert here.disk_bytes is not None
    assert away.disk_bytes == here.disk_bytes + 270_000_000
    assert away.download_bytes == 270_000_000


def test_a_full_disk_is_refused_before_start():
    plan = make_plan(TrainSpec(**AUTO), facts(disk_free_bytes=2 * GIB, disk_total_bytes=20 * GIB))
    assert [problem.code for problem in plan.problems] == ["RUNTIME_DISK_FULL"]


def test_no_data_is_a_problem_at_its_field():
    plan = make_plan(TrainSpec(), facts(data=None))
    assert [(problem.field, problem.code) for problem in plan.problems] == [
        ("dataset", "INPUT_DATASET_NOT_FOUND")
    ]


def test_data_that_is_named_but_not_read_yet_is_no_problem():
    assert make_plan(TrainSpec(**AUTO), facts(data=None)).problems == ()


def test_data_without_a_usable_row_are_refused():
    plan = make_plan(TrainSpec(**AUTO), facts(data=replace(data(0), rows=7)))
    assert [problem.message for problem in plan.problems] == ["None of the 7 rows can be learned from."]


def test_a_mask_with_nothing_to_learn_is_refused():
    plan = make_plan(TrainSpec(**AUTO), facts(data=data(supervised=0)))
    assert [problem.code for problem in plan.problems] == ["INPUT_DATASET_INVALID"]


def test_a_length_beyond_the_models_reach_is_refused():
    plan = make_plan(TrainSpec(**AUTO, max_seq_length=8193), facts())
    assert [(problem.field, problem.message) for problem in plan.problems] == [
        ("max_seq_length", "The model reads at most 8,192 tokens.")
    ]


def test_layers_that_the_model_does_not_have_are_refused():
    plan = make_plan(TrainSpec(dataset="d", target_modules="c_attn"), facts())
    assert [problem.field for problem in plan.problems] == ["target_modules"]
    assert "q_proj" in plan.problems[0].hint


def test_an_unknown_model_gives_a_plan_without_a_forecast():
    plan = make_plan(TrainSpec(**AUTO), facts(model=model(None)))
    assert (plan.components, plan.peak_bytes, plan.fits, plan.time_s) == ((), None, None, None)
    assert plan.steps == 100
    assert plan.problems == ()


def test_a_missing_card_gives_one_problem_and_no_talk_of_its_memory():
    plan = make_plan(TrainSpec(dataset="d", device="cuda"), facts())
    assert [problem.code for problem in plan.problems] == ["DEP_GPU_NOT_AVAILABLE"]
    assert plan.suggestion is None


def test_macos_is_refused_whatever_the_model():
    machine = replace(PROCESSOR, system="macos")
    plan = make_plan(TrainSpec(**AUTO), facts(machine=machine))
    assert "DEP_GPU_NOT_AVAILABLE" in [problem.code for problem in plan.problems]


@pytest.mark.parametrize(("share", "codes"), [(0.95, []), (0.80, ["RUNTIME_GPU_OOM"])])
def test_only_a_forecast_beyond_its_error_bar_stops_a_run(share, codes):
    spec = TrainSpec(dataset="d", lora_r=16, quantization="4bit", batch_size=1, gradient_checkpointing="on")
    needed = make_plan(spec, facts(**ON_CARD)).peak_bytes
    assert needed is not None
    machine = machine_with_card(needed * share / GIB)
    plan = make_plan(spec, facts(**{**ON_CARD, "machine": machine}))
    assert plan.fits is False
    assert [problem.code for problem in plan.problems] == codes


def test_full_mode_trains_every_weight_and_says_so():
    plan = make_plan(TrainSpec(dataset="d", mode="full"), facts())
    assert plan.trainable_parameters == 134_515_008
    assert plan.derived[0].value == "every weight"
    assert plan.problems == ()


def test_full_mode_at_loras_rate_suggests_a_tenth():
    plan = make_plan(TrainSpec(dataset="d", mode="full"), facts())
    assert plan.suggestion is not None
    assert (plan.suggestion.field, plan.suggestion.value) == ("learning_rate", "2e-5")
    assert make_plan(TrainSpec(dataset="d", mode="full", learning_rate=2e-5), facts()).suggestion is None


def test_full_mode_pages_its_optimizer_on_a_card():
    given = facts(**{**ON_CARD, "model": model()})
    assert make_plan(TrainSpec(dataset="d", mode="full"), given).choices.optim == "paged_adamw_8bit"


@pytest.mark.parametrize(("base", "free_gib"), [(model(LARGE), 70.0), (model(), 1.0)], ids=["7B", "no room"])
def test_full_mode_above_its_gate_is_refused_with_one_problem(base, free_gib):
    given = {**ON_CARD, "machine": machine_with_card(free_gib), "model": base, "disk_free_bytes": 10**13}
    plan = make_plan(TrainSpec(dataset="d", mode="full"), facts(**given))
    assert [problem.code for problem in plan.problems] == ["RUNTIME_FULL_FT_MODEL_TOO_LARGE"]
