"""Campaigns of a tiny model: what each leg starts from, what is kept, and that a kill changes nothing."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from backprop_core import files
from backprop_core.engine import callbacks, devices, leg_adapters, run_multi, slao
from backprop_core.errors import BackpropagateError
from backprop_core.events.types import LegMerged, LegStarted, RunCompleted, RunFailed, RunResumed
from backprop_core.runs.campaigns import CampaignLegs, campaign_state
from backprop_core.runs.leg_files import LegFiles
from benchmarks.continual.recompute import recompute
from tests.support.attempts import attempt, bodies, metrics, types, write_rows
from tests.support.campaigns import LEGS, matrix, new_campaign, planned, weights, write_sources

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class PowerLoss(BaseException):
    """The attempt ends without a word, as in a kill."""


@pytest.fixture
def start(tmp_path, own_home, tiny_model, in_fp32):
    """Return a function that makes a campaign of three legs; `start.new` only creates it."""

    def new(**options):
        return new_campaign(tmp_path, tiny_model, write_sources(tmp_path), **options)

    def run(**options):
        folder = new(**options)
        attempt(folder, own_home)
        return folder

    run.new = new
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_model):
    """A campaign that nothing disturbs, with replay."""
    place = tmp_path_factory.mktemp("campaign")
    folder = new_campaign(place, tiny_model, write_sources(place), replay_fraction=0.5)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "cpu_has_bf16", lambda: False)
        attempt(folder, place / "home")
    return folder


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def code_of(folder):
    return next(body.error["code"] for body in bodies(folder) if isinstance(body, RunFailed))


def test_a_campaign_tells_its_life_in_order(whole):
    leg = ["leg.started", "leg.ended", "forget.row", "forget.row", "leg.merged", "leg.chosen"]
    first = ["leg.started", "forget.row", *leg[1:]]
    told = [kind for kind in types(whole) if kind != "checkpoint.saved"]
    assert told == ["run.started", "training.planned", *first, *leg, *leg, "run.completed"]


def test_steps_run_on_across_the_legs(whole):
    steps = metrics(whole)
    assert [step.step for step in steps] == list(range(1, 10))
    assert {step.total_steps for step in steps} == {9}
    assert [body.first_step for body in bodies(whole) if isinstance(body, LegStarted)] == [0, 3, 6]


def test_each_merge_is_the_written_formula(whole):
    merged = weights(whole, "own", 1)
    for number in (2, 3):
        own = weights(whole, "own", number)
        merged = slao.merge("slao", merged, own, number)
        assert same(weights(whole, "merged", number), merged)


def test_the_product_is_the_newest_merge_and_loads_with_plain_peft(whole, tiny_model):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), whole.adapter)
    loaded = leg_adapters.weights_of(model)
    assert same(loaded, weights(whole, "merged", 3))
    assert (whole.adapter / "run_id").read_text().strip() == whole.info().run_id


def test_a_leg_starts_from_the_orthonormal_a_and_the_fine_tuned_b_of_the_last(start, own_home, monkeypatch):
    folder, seen = start.new(), []
    real = run_multi.put_into

    def noting(model, adapter):
        seen.append({name: value.clone() for name, value in adapter.items()})
        real(model, adapter)

    monkeypatch.setattr(run_multi, "put_into", noting)
    attempt(folder, own_home)
    # Two for each leg: its start, and the merge to be measured.
    begun, own = seen[2], weights(folder, "own", 1)
    for name, value in own.items():
        assert torch.equal(begun[name], slao.orthonormal_rows(value) if ".lora_A." in name else value)


def test_the_matrix_is_the_one_that_a_separate_script_finds_in_the_saved_adapters(whole, tiny_model):
    found, told = recompute(whole.path, tiny_model), matrix(whole)
    assert found.keys() == told.keys()
    for key, losses in found.items():
        assert told[key] == pytest.approx(losses, abs=1e-4), key


def test_replayed_rows_come_on_top_of_the_own_ones(whole):
    legs = [body for body in bodies(whole) if isinstance(body, LegStarted)]
    assert [(leg.rows, leg.replay_rows, leg.held_out) for leg in legs] == [(2, 0, 1), (2, 1, 1), (2, 1, 1)]


# Inside the first leg, at its last step before it is saved, and inside the two others.
@pytest.mark.parametrize("after", [1, 3, 5, 8])
def test_a_campaign_killed_after_any_step_ends_bit_for_bit_the_same(
    whole, start, own_home, monkeypatch, after
):
    folder = start.new(replay_fraction=0.5)
    real = callbacks.StepReporter.on_step_end

    def dying(reporter, args, state, control, **rest):
        real(reporter, args, state, control, **rest)
        if state.global_step == after:
            raise PowerLoss

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.StepReporter, "on_step_end", dying)
        with pytest.raises(PowerLoss):
            attempt(folder, own_home)
    attempt(folder, own_home)
    require_equal(whole, folder)


@pytest.mark.parametrize("place", ["save_own", "merge_into", "_measure", "_rejection"])
def test_a_campaign_killed_around_a_merge_ends_bit_for_bit_the_same(
    whole, start, own_home, monkeypatch, place
):
    folder, calls = start.new(replay_fraction=0.5), []
    real = getattr(run_multi, place)

    def dying(*arguments, **named):
        calls.append(place)
        found = real(*arguments, **named)
        if len(calls) == 2:
            raise PowerLoss
        return found

    with monkeypatch.context() as patch:
        patch.setattr(run_multi, place, dying)
        with pytest.raises(PowerLoss):
            attempt(folder, own_home)
    attempt(folder, own_home)
    require_equal(whole, folder)


def test_a_kill_inside_the_merge_learns_no_step_again(start, own_home, monkeypatch):
    folder = start.new()
    real = run_multi.merge_into

    def dying(target, mode, merged, own, number):
        if number == 2:
            raise PowerLoss
        return real(target, mode, merged, own, number)

    with monkeypatch.context() as patch:
        patch.setattr(run_multi, "merge_into", dying)
        with pytest.raises(PowerLoss):
            attempt(folder, own_home)
    before = len(metrics(folder))
    attempt(folder, own_home)
    assert [step.step for step in metrics(folder)[before:]] == [7, 8, 9]
    assert [body.step for body in bodies(folder) if isinstance(body, RunResumed)] == [6]


def require_equal(whole, folder):
    """Compare everything that a campaign leaves with what an undisturbed one leaves."""
    for number in (1, 2, 3):
        for kind in ("own", "merged"):
            assert same(weights(folder, kind, number), weights(whole, kind, number)), (kind, number)
    assert matrix(folder) == matrix(whole)
    wanted, found = LegFiles(whole).memory(), LegFiles(folder).memory()
    assert [leg.model_dump() for leg in found.legs] == [leg.model_dump() for leg in wanted.legs]
    assert {step.step: step.loss for step in metrics(folder)} == {s.step: s.loss for s in metrics(whole)}


def test_a_merge_that_is_not_finite_leaves_the_last_one(start, own_home, monkeypatch):
    folder = start.new()
    real = run_multi.save_own

    def spoiled(model, tokenizer, target, run_id, facts):
        if target.parent.name == "002":
            next(p for n, p in model.named_parameters() if "lora_B" in n).data[0, 0] = float("nan")
        return real(model, tokenizer, target, run_id, facts)

    monkeypatch.setattr(run_multi, "save_own", spoiled)
    with pytest.raises(BackpropagateError):
        attempt(folder, own_home)
    assert code_of(folder) == "RUNTIME_SLAO_MERGE_FAILED"
    assert LegFiles(folder).memory().product == 1
    assert not LegFiles(folder).merged(2).exists()
    assert files.sha256_of(folder.adapter / "adapter_model.safetensors") == files.sha256_of(
        LegFiles(folder).merged(1) / "adapter_model.safetensors"
    )


def test_the_gate_rejects_a_merge_and_the_next_leg_starts_before_it(start, monkeypatch):
    rising = itertools.count()
    monkeypatch.setattr(run_multi, "held_out_loss", lambda trainer, rows: float(next(rising)))
    folder = start(gate=0.5, steps=1)
    merges = [body for body in bodies(folder) if isinstance(body, LegMerged)]
    assert [merge.is_accepted for merge in merges] == [True, False, False]
    assert "rose by" in merges[1].reason
    assert LegFiles(folder).memory().product == 1
    state = campaign_state(LegFiles(folder).plan().legs, _events(folder))
    assert [leg.status for leg in state.legs] == ["merged", "rejected", "rejected"]
    assert state.product_leg == 1


def test_early_stopping_keeps_the_best_leg(start, monkeypatch):
    means = iter([2.0, 1.0, 3.0])
    monkeypatch.setattr(run_multi, "_mean", lambda values: next(means))
    folder = start(early_stopping=5)
    assert LegFiles(folder).memory().product == 2


def test_early_stopping_ends_a_campaign_that_gets_no_better(start, monkeypatch):
    means = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(run_multi, "_mean", lambda values: next(means))
    folder = start(early_stopping=1)
    assert LegFiles(folder).memory().done == 2
    assert LegFiles(folder).memory().product == 1
    assert isinstance(bodies(folder)[-1], RunCompleted)


def test_a_leg_added_weeks_later_learns_and_is_measured(start, own_home, tmp_path):
    folder = start(steps=2)
    for source in LegFiles(folder).plan().legs:
        (tmp_path / f"{source.name}.jsonl").unlink()
    fourth = write_rows(
        tmp_path / "week4.jsonl", {"Who sleeps?": "Ada.", "Who wakes?": "Quill.", "Who?": "I."}
    )
    add(folder, planned([fourth], folder.spec(), first=4))
    attempt(folder, own_home)
    assert LegFiles(folder).memory().product == 4
    assert [len(matrix(folder)[leg, "merged"]) for leg in (1, 4)] == [3, 4]
    assert [step.step for step in metrics(folder)] == list(range(1, 9))


def test_a_new_leg_may_not_learn_what_an_earlier_one_has_held_out(start, own_home, tmp_path):
    folder = start(steps=1)
    everything = {question: answer for leg in LEGS for question, answer in leg.items()}
    add(
        folder, planned([write_rows(tmp_path / "all.jsonl", everything | {"New?": "Yes."})], folder.spec(), 4)
    )
    with pytest.raises(BackpropagateError):
        attempt(folder, own_home)
    assert code_of(folder) == "CONFIG_INVALID"


def test_a_leg_that_was_edited_after_the_campaign_began_is_refused(start, own_home):
    folder = start.new(steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_multi, "_merge", _die)
        with pytest.raises(PowerLoss):
            attempt(folder, own_home)
    path = LegFiles(folder).plan_path
    plan = json.loads(path.read_text())
    plan["legs"][1]["learning_rate"] = 0.5
    path.write_text(json.dumps(plan))
    with pytest.raises(BackpropagateError) as failure:
        attempt(folder, own_home)
    assert failure.value.code == "STATE_SLAO_CHECKPOINT_INVALID"


def test_an_adapter_that_was_changed_since_its_merge_is_refused(start, own_home):
    folder = start.new(steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_multi, "_is_enough", _die)
        with pytest.raises(PowerLoss):
            attempt(folder, own_home)
    path = LegFiles(folder).own(1) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BackpropagateError) as failure:
        attempt(folder, own_home)
    assert failure.value.code == "STATE_SLAO_CHECKPOINT_INVALID"


def test_the_same_rows_in_every_leg_cannot_be_held_out(start, own_home, tmp_path, tiny_model):
    source = write_rows(tmp_path / "same.jsonl", LEGS[0])
    folder = new_campaign(tmp_path, tiny_model, [source, source])
    with pytest.raises(BackpropagateError):
        attempt(folder, own_home)
    assert code_of(folder) == "CONFIG_INVALID"


def test_a_campaign_goes_on_from_an_adapter_as_its_first_task(start, own_home, tmp_path, tiny_model, whole):
    folder = new_campaign(tmp_path, tiny_model, write_sources(tmp_path)[:1], from_adapter=str(whole.adapter))
    attempt(folder, own_home)
    merge = next(body for body in bodies(folder) if isinstance(body, LegMerged))
    assert merge.weight == pytest.approx(0.70710678)
    assert same(weights(folder, "own", 0), weights(whole, "merged", 3))


def test_short_answers_are_scored_by_what_the_model_would_write(whole):
    row = next(body for body in bodies(whole) if body.type == "forget.row" and body.adapter == "merged")
    assert all(value in (0.0, 1.0) for value in row.exact)


def add(folder, legs):
    places = LegFiles(folder)
    files.write_json(places.plan_path, CampaignLegs(legs=(*places.plan().legs, *legs)).model_dump())


def _die(*arguments, **named):
    raise PowerLoss


def _events(folder):
    from backprop_core.events.journal import JournalReader

    return JournalReader(folder.journal_path).read_all()
