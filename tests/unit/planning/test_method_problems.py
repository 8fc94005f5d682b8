"""Fields that exclude each other are refused before anything is created."""

from __future__ import annotations

import pytest

from backprop_core.config.specs import TrainSpec
from backprop_core.planning.problems import method_problems


@pytest.mark.parametrize(
    "spec, field",
    [
        ({"mode": "full", "from_adapter": "output/lora"}, "from_adapter"),
        ({"init_lora_weights": "pissa", "quantization": "4bit"}, "init_lora_weights"),
        ({"init_lora_weights": "pissa", "use_dora": True}, "init_lora_weights"),
        ({"early_stopping": 3}, "early_stopping"),
    ],
)
def test_two_things_that_exclude_each_other_are_refused_at_a_field(spec, field):
    problems = method_problems(TrainSpec(**spec))
    assert [problem.field for problem in problems] == [field]
    assert problems[0].hint


def test_what_goes_together_is_not_refused():
    spec = TrainSpec(init_lora_weights="pissa", eval_split=0.1, early_stopping=2, from_adapter="x")
    assert method_problems(spec) == []
