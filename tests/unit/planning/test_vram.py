from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_core.planning.activations import (
    activation_bytes,
    layer_token_bytes,
    logit_bytes,
    workspace_bytes,
)
from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.records import Calibration
from backprop_core.planning.vram import base_weight_bytes, calibrate, forecast
from tests.support.plans import LARGE, SMALL

LOAD = TrainingLoad(
    shape=SMALL,
    device="cpu",
    precision="bf16",
    quantization="none",
    optim="adamw_torch",
    lora_r=16,
    target_modules="all-linear",
    use_dora=False,
    tokens=1024,
    row_tokens=256,
    supervised_tokens=512,
    recompute=False,
)
CARD = replace(LOAD, shape=LARGE, device="cuda", quantization="4bit", optim="adamw_8bit")


def _parts(load: TrainingLoad) -> dict[str, int]:
    return {part.name: part.bytes for part in forecast(load).parts}


def test_unquantized_weights_are_parameters_times_width():
    assert base_weight_bytes(LOAD) == 134_515_008 * 2
    assert base_weight_bytes(replace(LOAD, precision="fp32")) == 134_515_008 * 4


def test_four_bit_packs_only_the_linear_layers_of_the_blocks():
    packed = round(6_525_288_448 * (0.5 + (1 + 4 / 256) / 64))
    dense = 7_615_616_512 - 6_525_288_448
    assert base_weight_bytes(CARD) == packed + 2 * dense


def test_eight_bit_takes_a_byte_per_linear_weight():
    load = replace(CARD, quantization="8bit")
    assert base_weight_bytes(load) == 6_525_288_448 + 2 * (7_615_616_512 - 6_525_288_448)


def test_adapter_gradients_and_optimizer_follow_the_trainable_parameters():
    parts = _parts(LOAD)
    # fp32 weights with their bf16 cast, fp32 gradients, two fp32 states.
    assert parts["adapter"] == 4_884_480 * 6
    assert parts["gradients"] == 4_884_480 * 4
    assert parts["optimizer"] == 4_884_480 * 8


def test_an_eight_bit_optimizer_holds_a_quarter_of_the_state():
    assert _parts(replace(LOAD, optim="adamw_8bit"))["optimizer"] == round(4_884_480 * 2.06)


def test_adapters_of_a_quantized_base_are_held_in_bf16():
    parts = _parts(CARD)
    count = LARGE.adapter_parameters(16)
    assert (parts["adapter"], parts["gradients"]) == (count * 2, count * 2)


def test_in_full_mode_a_processor_learns_in_fp32_beside_a_bf16_copy():
    parts = _parts(replace(LOAD, lora_r=None))
    assert parts["weights"] == 134_515_008 * (4 + 2)
    assert parts["gradients"] == 134_515_008 * 4
    assert parts["optimizer"] == 134_515_008 * 8
    assert "adapter" not in parts


def test_in_full_mode_a_card_learns_in_bf16():
    parts = _parts(replace(CARD, shape=SMALL, quantization="none", lora_r=None, optim="paged_adamw_8bit"))
    assert parts["weights"] == parts["gradients"] == 134_515_008 * 2
    assert parts["optimizer"] == round(134_515_008 * 2.06)


def test_a_layer_keeps_what_autograd_saves_for_it():
    # Norms, attention, MLP, inputs of seven adapters and their rank-wide middles.
    norms = 8 * 576
    attention = 2 * (2 * 576 + 2 * 192) + 4 * 9
    mlp = 2 * 3 * 1536
    inputs = 2 * (6 * 576 + 1536)
    middles = 2 * 16 * 7
    assert layer_token_bytes(LOAD) == norms + attention + mlp + inputs + middles


def test_fewer_adapters_keep_fewer_inputs():
    less = replace(LOAD, target_modules="q_proj,v_proj")
    assert layer_token_bytes(LOAD) - layer_token_bytes(less) == 2 * (4 * 576 + 1536) + 2 * 16 * 5


def test_activations_grow_with_the_tokens_alone():
    twice = replace(LOAD, tokens=2048, row_tokens=2048)
    assert activation_bytes(twice) == 2 * activation_bytes(LOAD)


def test_recompute_keeps_one_layer_and_the_inputs_of_the_others():
    kept, recomputed = activation_bytes(LOAD), activation_bytes(replace(LOAD, recompute=True))
    assert kept - recomputed == 1024 * (29 * layer_token_bytes(LOAD) - 30 * 576 * 2)


def test_logits_exist_for_one_chunk_of_the_supervised_tokens():
    gradients = 2 * 576
    assert logit_bytes(LOAD) == 256 * 49_152 * 8 + 512 * gradients
    assert logit_bytes(replace(LOAD, supervised_tokens=5)) == 5 * 49_152 * 8 + 5 * gradients


def test_a_quantized_base_unpacks_its_largest_matrix_twice():
    assert workspace_bytes(LOAD) == 0
    assert workspace_bytes(CARD) == 2 * 2 * 3584 * 18_944


def test_peak_is_the_sum_of_its_parts():
    result = forecast(CARD)
    assert result.peak_bytes == sum(part.bytes for part in result.parts)
    assert [part.name for part in result.parts] == [
        "weights",
        "adapter",
        "gradients",
        "optimizer",
        "activations",
        "logits",
        "workspace",
        "spare",
    ]


def test_parts_without_bytes_are_left_out():
    assert "workspace" not in _parts(LOAD)


def test_seven_billion_in_four_bit_fit_eight_gib_at_rank_16():
    load = replace(CARD, tokens=2048, row_tokens=2048, supervised_tokens=2048, recompute=True)
    assert 6.5 < forecast(load).peak_bytes / 2**30 < 8.0


def test_an_unmeasured_device_has_a_wide_error_bar_that_says_so():
    result = forecast(LOAD)
    assert result.error_bytes == round(0.25 * result.peak_bytes)
    assert result.source == "not measured on this machine yet"


def test_measured_runs_correct_the_forecast_and_narrow_the_bar():
    raw = forecast(LOAD)
    result = forecast(LOAD, Calibration(runs=9, ratio=1.2, spread=0.04))
    assert result.peak_bytes == pytest.approx(1.2 * raw.peak_bytes, abs=5)
    assert result.error_bytes == round(0.04 * result.peak_bytes)
    assert result.source == "from 9 runs on this machine"


def test_one_measured_run_halves_the_bar_at_most():
    result = forecast(LOAD, Calibration(runs=1, ratio=1.0, spread=0.0))
    assert result.error_bytes == round(0.125 * result.peak_bytes)
    assert result.source == "from 1 run on this machine"


def test_parts_that_are_known_exactly_are_not_corrected():
    by_name = {part.name: part.bytes for part in forecast(LOAD, Calibration(9, 1.2, 0.04)).parts}
    assert {name: by_name[name] for name in ("weights", "adapter", "gradients", "optimizer")} == {
        name: _parts(LOAD)[name] for name in ("weights", "adapter", "gradients", "optimizer")
    }


def test_the_figure_to_compare_with_a_run_is_not_corrected():
    assert forecast(LOAD, Calibration(9, 1.2, 0.04)).comparable_bytes == forecast(LOAD).peak_bytes


def test_a_card_does_not_count_its_context():
    result = forecast(CARD)
    assert result.peak_bytes - result.comparable_bytes == int(0.6 * 2**30)


def test_calibration_is_the_mean_of_measured_by_forecast():
    found = calibrate([(100, 110), (200, 180)])
    assert found is not None
    assert (found.runs, found.ratio) == (2, pytest.approx(1.0))
    assert found.spread == pytest.approx(0.1)


def test_no_measured_run_gives_no_calibration():
    assert calibrate([]) is None
    assert calibrate([(0, 5), (5, 0)]) is None


def test_a_shape_read_like_another_family_has_a_wider_bar():
    result = forecast(replace(LOAD, shape=replace(SMALL, is_exact=False)))
    assert result.error_bytes == round(0.30 * result.peak_bytes)
