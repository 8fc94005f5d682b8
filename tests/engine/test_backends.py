"""Unsloth behind the same protocol: used when it works, left out when it does not, demanded when named."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from backprop_core.config.specs import TrainSpec
from backprop_core.engine.backends import _wants_unsloth
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import Notice
from tests.support.attempts import attempt, bodies, losses, types


def load(model_name, dtype, **_):
    return AutoModelForCausalLM.from_pretrained(model_name, dtype=dtype), None


def wrap(model, r, lora_alpha, target_modules, random_state, **_):
    import transformers

    transformers.set_seed(random_state)
    config = LoraConfig(r=r, lora_alpha=lora_alpha, target_modules=target_modules, task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def refuse(**_):
    raise NotImplementedError("this family is not supported")


@pytest.fixture
def unsloth(monkeypatch):
    """Return a function that installs a stand-in for the package."""

    def install(from_pretrained=load):
        module = ModuleType("unsloth")
        module.FastLanguageModel = SimpleNamespace(from_pretrained=from_pretrained, get_peft_model=wrap)
        monkeypatch.setitem(sys.modules, "unsloth", module)

    return install


def notices(folder):
    return [body.message for body in bodies(folder) if isinstance(body, Notice)]


def test_a_run_with_unsloth_learns_as_one_without(train, unsloth):
    unsloth()
    assert losses(train(backend="unsloth")) == pytest.approx(losses(train()), abs=1e-5)


def test_an_unsloth_that_is_demanded_and_missing_is_refused(train, own_home):
    folder = train.new(backend="unsloth")
    with pytest.raises(BackpropagateError) as caught:
        attempt(folder, own_home)
    assert caught.value.code == "DEP_EXTRA_MISSING"


def test_an_unsloth_that_is_demanded_and_cannot_load_the_model_is_refused(train, own_home, unsloth):
    unsloth(refuse)
    with pytest.raises(BackpropagateError) as caught:
        attempt(train.new(backend="unsloth"), own_home)
    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"
    assert "this family is not supported" in caught.value.message


def test_an_unsloth_that_nobody_demanded_may_fail(train, own_home, unsloth, monkeypatch):
    from backprop_core.engine import backends

    unsloth(refuse)
    monkeypatch.setattr(backends, "_wants_unsloth", lambda *_, **__: True)
    folder = train()
    assert notices(folder) == [
        "unsloth cannot load this model (this family is not supported); the run goes on without it."
    ]
    assert types(folder)[-1] == "run.completed"


@pytest.mark.parametrize(
    "spec, has_cuda, expected",
    [
        ({}, True, True),
        ({}, False, False),
        ({"backend": "transformers"}, True, False),
        ({"backend": "unsloth"}, False, True),
        ({"mode": "full"}, True, False),
        ({"use_dora": True}, True, False),
        ({"init_lora_weights": "pissa"}, True, False),
        ({"from_adapter": "x"}, True, False),
    ],
)
def test_unsloth_is_taken_on_a_card_for_what_it_can_do(monkeypatch, spec, has_cuda, expected):
    from backprop_core.engine import backends

    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: object())
    assert _wants_unsloth(TrainSpec(**spec), has_cuda=has_cuda) is expected


def test_unsloth_that_is_not_installed_is_not_taken(monkeypatch):
    from backprop_core.engine import backends

    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: None)
    assert not _wants_unsloth(TrainSpec(), has_cuda=True)
