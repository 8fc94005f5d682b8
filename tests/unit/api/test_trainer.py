from __future__ import annotations

import pytest

from backprop_core.errors import ConfigError, InputError, StateError
from backprop_core.runs.projection import RunState
from backpropagate import RunResult, Trainer, get_settings


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"learning_rate": float("nan")}, "Learning rate cannot be 'nan'."),
        ({"learning_rate": 0}, "Learning rate cannot be '0'."),
        ({"lora_r": 0}, "Rank cannot be '0'."),
        ({"batch_size": True}, "Batch cannot be 'True'."),
        ({"lora_preset": "best"}, "Preset cannot be 'best'."),
        ({"seed": -1}, "Seed cannot be '-1'."),
        ({"model": "  "}, "Model cannot be"),
    ],
)
def test_a_bad_value_raises_at_construction(keywords, named):
    with pytest.raises(InputError) as caught:
        Trainer(**keywords)
    assert caught.value.code == "INPUT_VALIDATION_FAILED"
    assert caught.value.message.startswith(named)
    assert caught.value.hint


def test_a_keyword_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_LORA__R", "8")
    assert Trainer().spec.lora_r == 8
    assert Trainer(lora_r=4).spec.lora_r == 4


def test_a_keyword_equal_to_the_default_wins_over_the_environment_too(monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_TRAINING__BATCH_SIZE", "4")
    assert Trainer(batch_size="auto").spec.batch_size == "auto"


def test_a_bad_variable_is_a_settings_error(monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_LORA__R", "many")
    with pytest.raises(ConfigError):
        Trainer()


def test_a_preset_gives_way_to_a_keyword_beside_it():
    assert Trainer(lora_preset="fast", lora_r=32).spec.lora_r == 32


def test_a_path_is_a_model_and_an_output_folder(tmp_path):
    spec = Trainer(tmp_path / "model", output_dir=tmp_path).spec
    assert (spec.model, spec.output_dir) == (str(tmp_path / "model"), str(tmp_path))


def test_there_is_nothing_to_save_before_training(tmp_path):
    with pytest.raises(StateError):
        Trainer().save(tmp_path / "adapter")


@pytest.mark.parametrize("counts", [{"steps": 0}, {"epochs": -1}, {"samples": 0}])
def test_a_bad_count_is_refused_before_rows_are_written(tmp_path, counts):
    trainer = Trainer("smollm2-135m", output_dir=tmp_path / "out")
    with pytest.raises(InputError):
        trainer.train([{"text": "x"}], **counts)
    assert not (tmp_path / "out").exists()


def test_rows_that_nothing_can_be_learned_from_leave_nothing_behind(tmp_path):
    trainer = Trainer("smollm2-135m", output_dir=tmp_path / "out", device="cpu")
    with pytest.raises(InputError) as caught:
        trainer.train([{"alpha": 1}])
    assert caught.value.code == "INPUT_DATASET_INVALID"
    assert not (tmp_path / "out").exists()


def test_a_result_tells_the_steps_really_taken(tmp_path):
    state = RunState(
        run_id="r",
        folder=str(tmp_path),
        name="n",
        source="python",
        model="m",
        dataset="d",
        created_at="2025-01-01T00:00:00+00:00",
        status="stopped",
        step=7,
        total_steps=100,
        loss=0.5,
        artifact="adapter",
    )
    result = RunResult.from_state(state)
    assert (result.steps, result.total_steps, result.final_loss) == (7, 100, 0.5)
    assert result.adapter_path == tmp_path / "adapter"


def test_settings_are_those_of_the_environment(own_home):
    assert get_settings().home == own_home
