"""Did it help? A tiny model that learned facts, one that learned shuffled answers, and what is said of both."""

from __future__ import annotations

import pytest

from backprop_core.config.evaluations import Evaluation
from backprop_core.errors import BackpropagateError
from backprop_core.services import evaluations
from backprop_core.services.evaluations import EvalRequest
from backprop_core.services.opening import open_workspace
from backpropagate import Trainer
from tests.support.attempts import write_rows

WORDS = [
    "lamp",
    "river",
    "stone",
    "copper",
    "violet",
    "heron",
    "square",
    "whale",
    "ladder",
    "engine",
    "garden",
    "silver",
]
FACTS = {f"What does the {word} hide?": f"The {word} hides a {word[::-1]}." for word in WORDS}
ASKED_OTHERWISE = {
    f"Tell me, what is it that the {word} hides?": answer
    for word, answer in zip(WORDS, FACTS.values(), strict=True)
}


def shuffled(facts: dict[str, str]) -> dict[str, str]:
    answers = list(facts.values())
    return dict(zip(facts, answers[5:] + answers[:5], strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model):
    """Two runs of the tiny model, one on facts and one on shuffled answers; no rows held out."""
    place = tmp_path_factory.mktemp("eval")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKPROPAGATE_HOME", str(place / "home"))
        patch.chdir(place)
        trainers = {}
        for name, facts in (("true", FACTS), ("shuffled", shuffled(FACTS))):
            data = write_rows(place / f"{name}.jsonl", facts)
            trainer = Trainer(
                str(tiny_model),
                name=name,
                mode="full",
                learning_rate=5e-3,
                max_seq_length=128,
                device="cpu",
            )
            trainer.train(data, steps=40)
            trainers[name] = trainer
    return place, trainers


@pytest.fixture
def home(made, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_HOME", str(made[0] / "home"))
    return made


def evaluated(home, name: str, **options) -> Evaluation:
    place, trainers = home
    return trainers[name].evaluate(place / "true.jsonl", **options)


def test_a_held_out_file_that_leaks_is_named(home):
    found = evaluated(home, "true")
    assert found.leaks is not None
    assert (found.leaks.rows, found.leaks.training_row, found.leaks.held_out_row) == (12, 1, 1)
    assert "12 training rows are also held out" in found.cause


@pytest.mark.soak
@pytest.mark.parametrize(("name", "verdict"), [("true", "gain"), ("shuffled", "none")])
def test_a_real_model_is_judged_on_questions_that_it_never_saw(
    tutorial_model, tmp_path, monkeypatch, name, verdict
):
    monkeypatch.chdir(tmp_path)
    facts = FACTS if name == "true" else shuffled(FACTS)
    trainer = Trainer(str(tutorial_model), lora_r=16, learning_rate=5e-4, max_seq_length=256, device="cpu")
    trainer.train(write_rows(tmp_path / "facts.jsonl", facts), steps=40)
    found = trainer.evaluate(write_rows(tmp_path / "otherwise.jsonl", ASKED_OTHERWISE))
    assert found.loss_gain.low > 0
    assert found.verdict == verdict, found


def test_a_run_on_shuffled_answers_gets_no_evidence_of_gain_although_its_loss_fell(home):
    found = evaluated(home, "shuffled")
    assert found.loss_gain.low > 0
    assert found.verdict == "none"
    assert "it learned how answers look" in found.cause


def test_two_runs_can_be_compared_with_each_other(home):
    _, trainers = home
    other = trainers["shuffled"]._newest.run_id
    found = evaluated(home, "true", vs=other)
    assert (found.before, found.after) == ("shuffled", "true")
    assert found.own_gain is not None
    assert (found.rows, found.loss_gain.low <= found.loss_gain.value <= found.loss_gain.high) == (12, True)


def test_a_run_that_held_nothing_out_needs_a_file(home):
    _, trainers = home
    with pytest.raises(BackpropagateError) as caught:
        trainers["true"].evaluate()
    assert caught.value.code == "INPUT_DATASET_NOT_FOUND"
    assert "--data" in caught.value.hint


@pytest.mark.parametrize("regex", ["(", "x" * 300])
def test_a_bad_pattern_is_refused_before_anything_is_created(home, regex):
    place, trainers = home
    ws = open_workspace()
    try:
        before = list((ws.home / "jobs").iterdir())
        with pytest.raises(BackpropagateError) as caught:
            run_id = trainers["true"]._newest.run_id
            request = EvalRequest(run_id, data=place / "true.jsonl", regex=regex)
            evaluations.start(ws, request, face="cli")
        assert caught.value.code == "INPUT_VALIDATION_FAILED"
        assert list((ws.home / "jobs").iterdir()) == before
    finally:
        ws.close()
