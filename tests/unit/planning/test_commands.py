from __future__ import annotations

import shlex

import pytest

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.config.specs import TrainSpec
from backprop_core.planning.commands import changed_values, cli_twin, python_twin


def test_defaults_are_not_written_out():
    assert cli_twin(TrainSpec().model_dump()) == "backprop train"


def test_only_what_changed_is_written_in_the_order_of_the_schema():
    values = TrainSpec(learning_rate=1e-3, dataset="d.jsonl", model="smollm2-135m").model_dump()
    assert cli_twin(values) == "backprop train -m smollm2-135m -d d.jsonl --lr 0.001"


def test_what_a_preset_sets_is_not_written_out():
    values = resolve_train([Layer("flag", {"lora_preset": "fast"})]).spec.model_dump()
    assert cli_twin(values) == "backprop train --lora-preset fast"


def test_a_field_that_differs_from_the_preset_is_written_out():
    values = resolve_train([Layer("flag", {"lora_preset": "fast", "lora_r": 256})]).spec.model_dump()
    assert cli_twin(values) == "backprop train --lora-preset fast --lora-r 256"


def test_epochs_alone_need_no_steps():
    assert cli_twin(TrainSpec(steps=None, epochs=2).model_dump()) == "backprop train --epochs 2"


def test_switches_have_a_yes_and_a_no():
    values = TrainSpec(oom_recovery=False, use_dora=True, train_on_responses=False).model_dump()
    assert cli_twin(values) == "backprop train --no-train-on-responses --no-oom-recovery --use-dora"


@pytest.mark.parametrize(
    "path", ["my data.jsonl", "it's.jsonl", "$(reboot).jsonl", "a;b.jsonl", "日本.jsonl"]
)
def test_a_shell_reads_back_the_same_path(path):
    words = shlex.split(cli_twin({"dataset": path}))
    assert words == ["backprop", "train", "-d", path]


def test_a_value_that_begins_with_a_dash_stays_a_value():
    assert cli_twin({"dataset": "-rf"}) == "backprop train --data=-rf"


def test_windows_quotes_with_double_quotes():
    assert cli_twin({"dataset": "my data.jsonl"}, is_windows=True) == 'backprop train -d "my data.jsonl"'


def test_a_number_keeps_all_its_digits():
    assert cli_twin({"learning_rate": 0.00012345678}) == "backprop train --lr 0.00012345678"


@pytest.mark.parametrize(
    "values",
    [
        {"model": "smollm2-135m", "dataset": "d", "epochs": 1.5, "steps": None},
        {"lora_preset": "fast", "lora_r": 8, "batch_size": 4, "use_rslora": True},
        {"lora_preset": "auto", "name": "night run", "samples": 10},
    ],
)
def test_changed_values_make_the_same_spec_again(values):
    spec = resolve_train([Layer("flag", values)]).spec
    assert resolve_train([Layer("flag", changed_values(spec.model_dump()))]).spec == spec


def test_python_names_model_data_and_length_where_they_belong():
    values = TrainSpec(model="smollm2-135m", dataset="d.jsonl", steps=60, seed=7, samples=5).model_dump()
    assert python_twin(values) == (
        "from backpropagate import Trainer\n\nTrainer('smollm2-135m', seed=7).train('d.jsonl', steps=60, samples=5)"
    )


def test_python_is_python():
    compile(
        python_twin({"dataset": 'it\'s "so".jsonl', "epochs": 2.0, "oom_recovery": False}), "twin", "exec"
    )
