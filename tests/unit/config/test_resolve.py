import math

import pytest

from backprop_core.config.resolve import Layer, config_layer, environment_layer, field_problems, resolve_train
from backprop_core.config.schema import train_fields
from backprop_core.config.specs import TrainSpec, alpha_for_rank
from backprop_core.errors import ConfigError, InputError


def test_without_any_source_every_value_is_the_default():
    resolved = resolve_train([])
    assert resolved.spec == TrainSpec()
    assert {origin.source for origin in resolved.origins.values()} == {"default"}


def test_the_stronger_source_wins_and_is_named():
    resolved = resolve_train(
        [
            Layer("flag", {"steps": 30}),
            Layer("environment", {"steps": "20", "seed": "7"}, "the environment"),
            Layer("config", {"steps": 10, "seed": 1, "lora_dropout": 0.1}),
        ]
    )
    spec, origins = resolved.spec, resolved.origins
    assert (spec.steps, spec.seed, spec.lora_dropout) == (30, 7, 0.1)
    assert (origins["steps"].source, origins["seed"].source, origins["lora_dropout"].source) == (
        "flag",
        "environment",
        "config",
    )


def test_a_preset_ranks_just_below_the_fields_of_its_own_source():
    resolved = resolve_train(
        [
            Layer("environment", {"lora_r": "64"}),
            Layer("flag", {"lora_preset": "fast", "target_modules": "all-linear"}),
        ]
    )
    assert (resolved.spec.lora_r, resolved.spec.target_modules) == (16, "all-linear")
    assert resolved.origins["lora_r"].note == "preset fast"


def test_a_stronger_field_survives_a_weaker_preset():
    resolved = resolve_train([Layer("environment", {"lora_preset": "fast"}), Layer("flag", {"lora_r": 8})])
    assert (resolved.spec.lora_r, resolved.spec.target_modules) == (8, "q_proj,v_proj")


def test_epochs_alone_take_the_place_of_the_default_steps():
    assert resolve_train([Layer("flag", {"epochs": 2})]).spec.steps is None
    assert resolve_train([Layer("flag", {"epochs": 2, "steps": 5})]).spec.steps == 5


BAD = [
    ("learning_rate", 0), ("learning_rate", -1), ("learning_rate", math.nan), ("learning_rate", "nan"), ("learning_rate", 1e9),
    ("learning_rate", math.inf), ("steps", 0), ("steps", 10**12), ("steps", -1), ("steps", 1.5), ("epochs", 0),
    ("lora_r", 0), ("lora_r", 10**6), ("batch_size", -1), ("batch_size", "many"), ("batch_size", True),
    ("max_seq_length", 1), ("seed", -1), ("seed", 2**33), ("lora_dropout", 1), ("lora_dropout", math.nan),
    ("lora_preset", "best"), ("device", "tpu"), ("model", ""), ("model", "x" * 2000), ("use_dora", "perhaps"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_value_out_of_range_names_field_and_range(field, value):
    with pytest.raises(InputError) as caught:
        resolve_train([Layer("flag", {field: value})])
    assert (caught.value.code, caught.value.details["field"]) == ("INPUT_VALIDATION_FAILED", field)
    assert caught.value.hint.startswith("--")
    [problem] = field_problems([Layer("flag", {field: value})])
    assert problem.field == field


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(InputError) as caught:
        resolve_train([Layer("explicit", {"learning_rte": 1e-4})])
    assert "learning_rate" in caught.value.hint


def test_a_bad_value_of_the_environment_is_a_setting_error():
    with pytest.raises(ConfigError) as caught:
        resolve_train([environment_layer({"BACKPROPAGATE_TRAINING__LEARNING_RATE": "fast"})])
    assert caught.value.code == "CONFIG_INVALID_SETTING"


def test_the_config_file_sets_fields_by_section(tmp_path):
    (tmp_path / "config.toml").write_text(
        '[training]\nlearning_rate = 1e-3\n[lora]\nr = 32\n[model]\nname = "m"\n'
    )
    spec = resolve_train([config_layer(tmp_path / "config.toml")]).spec
    assert (spec.learning_rate, spec.lora_r, spec.model) == (1e-3, 32, "m")


def test_an_unknown_name_in_the_config_file_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "config.toml").write_text("[lora]\nrang = 32\n")
    with pytest.raises(ConfigError) as caught:
        config_layer(tmp_path / "config.toml")
    assert "lora.r" in caught.value.hint


def test_a_damaged_config_file_is_a_coded_error(tmp_path):
    (tmp_path / "config.toml").write_text("[lora\n")
    with pytest.raises(ConfigError) as caught:
        config_layer(tmp_path / "config.toml")
    assert caught.value.code == "CONFIG_INVALID"


def test_every_field_says_what_it_does_and_has_its_own_names():
    fields = train_fields()
    assert all(len(field.description) > 20 for field in fields)
    assert len({field.flag for field in fields}) == len({field.env for field in fields}) == len(fields)


@pytest.mark.parametrize(("r", "alpha"), [(4, 8), (8, 16), (16, 32), (64, 32), (256, 32)])
def test_alpha_follows_the_rank(r, alpha):
    assert alpha_for_rank(r) == alpha
