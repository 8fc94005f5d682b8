"""A fixed question answered during the run, without a trace in what is learned."""

from __future__ import annotations

import pytest

from backprop_core.events.types import SampleAnswered
from tests.support.attempts import bodies, metrics


def answers(folder):
    return [body for body in bodies(folder) if isinstance(body, SampleAnswered)]


def test_the_question_is_answered_with_each_checkpoint_and_at_the_end(train):
    folder = train(steps=3, sample_prompt="Who keeps the lamp of Ada?", checkpoint_every=2)
    assert [(body.step, body.prompt) for body in answers(folder)] == [
        (2, "Who keeps the lamp of Ada?"),
        (3, "Who keeps the lamp of Ada?"),
    ]


@pytest.mark.parametrize("recompute", ["on", "off"])
def test_answering_changes_nothing_that_is_learned(train, recompute):
    spec = {"steps": 4, "lora_dropout": 0.1, "checkpoint_every": 1, "gradient_checkpointing": recompute}
    asked, silent = train(sample_prompt="Who?", **spec), train(**spec)
    assert [step.loss for step in metrics(asked)] == [step.loss for step in metrics(silent)]


def test_without_a_question_nothing_is_answered(train):
    assert answers(train(steps=2, checkpoint_every=1)) == []
