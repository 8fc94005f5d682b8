"""What is refused before a campaign exists, what its plan shows, and what may be changed of one that ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop_core import files
from backprop_core.config.resolve import Layer
from backprop_core.errors import BackpropagateError
from backprop_core.events import types as ev
from backprop_core.events.journal import JournalWriter
from backprop_core.runs.campaigns import CampaignMemory, LegRecord
from backprop_core.runs.leg_files import LegFiles
from backprop_core.runs.store import RunFolder
from backprop_core.services import campaigns
from backprop_core.services.campaign_plan import plan_campaign
from backprop_core.workspace import Workspace
from tests.support.campaigns import LEGS
from tests.support.exports import IdleLauncher


@pytest.fixture
def ws(own_home):
    opened = Workspace.open(IdleLauncher())
    yield opened
    opened.close()


def write(path: Path, facts) -> str:
    lines = [json.dumps({"question": asked, "answer": told}) for asked, told in facts.items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def weeks(tmp_path):
    return [write(tmp_path / f"week{number}.jsonl", facts) for number, facts in enumerate(LEGS, 1)]


def layer(tmp_path, **values):
    named = {
        "model": "smollm2-135m",
        "output_dir": str(tmp_path / "out"),
        "lora_r": 8,
        "steps": 4,
        "device": "cpu",
    }
    return [Layer("flag", {**named, **values})]


def problems(ws, tmp_path, **values):
    found = plan_campaign(ws, layer(tmp_path, **values), source="cli").problems
    return {problem.field: problem.code for problem in found}


def test_one_source_for_each_leg_makes_as_many_legs(ws, tmp_path, weeks):
    draft = plan_campaign(ws, layer(tmp_path, sources=weeks, replay_fraction=0.5), source="cli")
    assert draft.can_start
    assert [(leg.leg.name, leg.rows, leg.replay_rows, leg.held_out) for leg in draft.plan.legs] == [
        ("week1", 2, 0, 1),
        ("week2", 2, 1, 1),
        ("week3", 2, 1, 1),
    ]
    assert draft.plan.total_steps == 12


def test_one_source_is_cut_into_chunks(ws, tmp_path):
    facts = {f"Question {number}?": f"{number}" for number in range(20)}
    draft = plan_campaign(
        ws, layer(tmp_path, dataset=write(tmp_path / "all.jsonl", facts), num_runs=4), source="cli"
    )
    assert [(leg.leg.part, leg.leg.parts, leg.rows + leg.held_out) for leg in draft.plan.legs] == [
        (1, 4, 5),
        (2, 4, 5),
        (3, 4, 5),
        (4, 4, 5),
    ]


def test_the_rates_of_the_legs_are_shown_before_start(ws, tmp_path, weeks):
    draft = plan_campaign(
        ws,
        layer(tmp_path, sources=weeks, lr_decay="linear", learning_rate=3e-4, final_lr=1e-4),
        source="cli",
    )
    assert [leg.leg.learning_rate for leg in draft.plan.legs] == pytest.approx([3e-4, 2e-4, 1e-4])


@pytest.mark.parametrize(
    "values, field, code",
    [
        ({"replay_fraction": "2"}, "replay_fraction", "INPUT_VALIDATION_FAILED"),
        ({"merge_mode": "ties"}, "merge_mode", "INPUT_VALIDATION_FAILED"),
        ({"num_runs": "2"}, "num_runs", "CONFIG_INVALID"),
        ({"samples": "50"}, "samples", "INPUT_VALIDATION_FAILED"),
        ({"mode": "full"}, "mode", "CONFIG_INVALID"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights", "CONFIG_INVALID"),
        ({"use_dora": True}, "use_dora", "CONFIG_INVALID"),
        ({"early_stopping": 1, "validation": False}, "early_stopping", "CONFIG_INVALID"),
        ({"gate": 0.1, "validation": False}, "gate", "CONFIG_INVALID"),
    ],
)
def test_what_a_campaign_cannot_be_is_told_at_its_field(ws, tmp_path, weeks, values, field, code):
    assert problems(ws, tmp_path, sources=weeks, **values)[field] == code


def test_a_leg_without_usable_rows_is_refused(ws, tmp_path, weeks):
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"question": "", "answer": ""}\n')
    assert "INPUT_DATASET_INVALID" in problems(ws, tmp_path, sources=[*weeks, str(empty)]).values()


def test_more_legs_than_rows_are_refused(ws, tmp_path, weeks):
    assert problems(ws, tmp_path, dataset=weeks[0], num_runs=3)["num_runs"] == "INPUT_DATASET_INVALID"


def test_rows_that_would_be_learned_and_measured_are_refused(ws, tmp_path, weeks):
    assert problems(ws, tmp_path, sources=[weeks[0], weeks[0]])["sources"] == "CONFIG_INVALID"
    assert problems(ws, tmp_path, sources=[weeks[0], weeks[0]], validation=False) == {}


def test_layouts_of_turns_may_be_mixed_but_raw_text_may_not(ws, tmp_path, weeks):
    turns = tmp_path / "turns.jsonl"
    turns.write_text(
        "".join(
            json.dumps(
                {"conversations": [{"from": "human", "value": f"{n}?"}, {"from": "gpt", "value": f"{n}!"}]}
            )
            + "\n"
            for n in range(3)
        )
    )
    assert problems(ws, tmp_path, sources=[weeks[0], str(turns)]) == {}
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": f"Paragraph {n} of a long book."}) + "\n" for n in range(3)))
    assert problems(ws, tmp_path, sources=[weeks[0], str(text)])["sources"] == "CONFIG_INVALID"


@pytest.mark.parametrize("base, rank", [("Qwen/Qwen2.5-3B-Instruct", 8), ("smollm2-135m", 4)])
def test_a_start_adapter_of_another_base_or_rank_is_refused(ws, tmp_path, weeks, base, rank):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    files.write_json(adapter / "adapter_config.json", {"base_model_name_or_path": base, "r": rank})
    found = problems(ws, tmp_path, sources=weeks, from_adapter=str(adapter))
    assert found["from_adapter"] == "INPUT_ADAPTER_INVALID"


def test_the_page_reads_only_its_own_folders(ws, tmp_path, weeks):
    found = plan_campaign(ws, layer(tmp_path, sources=weeks), source="page").problems
    assert {problem.code for problem in found} == {"SANDBOX_PATH_OUTSIDE"}


def test_start_creates_a_queued_campaign_with_its_legs(ws, tmp_path, weeks):
    started = campaigns.start_campaign(ws, layer(tmp_path, sources=weeks), source="cli", start_key="once")
    again = campaigns.start_campaign(ws, layer(tmp_path, sources=weeks), source="cli", start_key="once")
    assert again.run_id == started.run_id
    campaign = campaigns.read_campaign(ws, started.run_id)
    assert (campaign.state.status, campaign.state.kind) == ("queued", "multi-run")
    assert [leg.status for leg in campaign.legs] == ["waiting"] * 3
    assert (started.folder.spec().steps, started.folder.spec().lora_alpha) == (4, 16.0)


def test_a_campaign_that_ended_early_is_found_in_its_folder(ws, tmp_path, weeks):
    started = campaigns.start_campaign(ws, layer(tmp_path, sources=weeks), source="cli")
    assert campaigns.unfinished_in(ws, tmp_path / "out") is None
    ws.database.move(started.run_id, ("queued",), "stopped")
    assert campaigns.unfinished_in(ws, tmp_path / "out").run_id == started.run_id
    assert campaigns.unfinished_in(ws, tmp_path / "elsewhere") is None


def test_other_options_for_a_campaign_that_has_begun_are_refused(ws, tmp_path, weeks):
    started = campaigns.start_campaign(ws, layer(tmp_path, sources=weeks), source="cli")
    state = campaigns.read_campaign(ws, started.run_id).state
    campaigns.require_same_campaign(state, {"sources": tuple(weeks), "steps": "4"})
    for changed in ({"merge_mode": "simple"}, {"sources": tuple(weeks[:2])}):
        with pytest.raises(BackpropagateError) as failure:
            campaigns.require_same_campaign(state, changed)
        assert failure.value.code == "CONFIG_INVALID"


@pytest.fixture
def finished(ws, tmp_path, weeks):
    """A campaign of two legs that completed, without the work of a model."""
    started = campaigns.start_campaign(ws, layer(tmp_path, sources=weeks[:2]), source="cli")
    folder = RunFolder(started.folder.path)
    places = LegFiles(folder)
    records = []
    with JournalWriter(folder.journal_path, ws.clock) as journal:
        journal.append(ev.RunStarted(attempt=1, pid=1))
        for number in (1, 2):
            merged = places.merged(number)
            merged.mkdir(parents=True)
            (merged / "adapter_model.safetensors").write_text(f"leg {number}")
            (merged / "run_id").write_text(started.run_id)
            lines = [
                {},
                {"digest": f"{number}a", "is_held_out": False},
                {"digest": f"{number}b", "is_held_out": True},
            ]
            places.rows(number).write_text("".join(json.dumps(line) + "\n" for line in lines))
            journal.append(
                ev.LegMerged(leg=number, mode="slao", weight=1.0, is_accepted=True, path="", seconds=0.1)
            )
            journal.append(ev.LegChosen(leg=number))
            records.append(
                LegRecord(
                    number=number,
                    step=4 * number,
                    tokens=1,
                    supervised_tokens=1,
                    weight=1.0,
                    is_accepted=True,
                    own_sha256="",
                    merged_sha256="",
                )
            )
        journal.append(ev.RunCompleted(step=8, artifact="adapter", seconds=1.0))
    places.commit(CampaignMemory(legs=tuple(records), product=2))
    places.place_product(places.memory(), folder.info().publish_to)
    ws.database.move(started.run_id, ("queued",), "starting")
    return started.run_id, folder


def test_rejecting_the_newest_merge_brings_the_adapter_before_it_back(ws, finished, tmp_path):
    run_id, folder = finished
    published = tmp_path / "out" / "lora" / "adapter_model.safetensors"
    assert published.read_text() == "leg 2"
    campaign = campaigns.decide_merge(ws, run_id, 2, accept=False)
    assert [leg.status for leg in campaign.legs] == ["merged", "rejected"]
    assert campaign.product_leg == 1
    assert published.read_text() == "leg 1"
    assert campaigns.decide_merge(ws, run_id, 2, accept=True).product_leg == 2
    assert (folder.adapter / "adapter_model.safetensors").read_text() == "leg 2"


@pytest.mark.parametrize("leg", [1, 3, -1])
def test_only_the_newest_leg_can_be_decided(ws, finished, leg):
    with pytest.raises(BackpropagateError) as failure:
        campaigns.decide_merge(ws, finished[0], leg, accept=False)
    assert failure.value.code == "STATE_RUN_NOT_ACTIVE"


def test_a_leg_is_added_to_a_finished_campaign(ws, finished, weeks):
    state = campaigns.add_leg(ws, finished[0], weeks[2], source="cli", steps="7")
    assert state.status == "queued"
    legs = LegFiles(finished[1]).plan().legs
    assert [(leg.number, leg.name, leg.steps) for leg in legs] == [
        (1, "week1", 4),
        (2, "week2", 4),
        (3, "week3", 7),
    ]


def test_a_leg_is_not_added_twice_at_once(ws, finished, weeks):
    campaigns.add_leg(ws, finished[0], weeks[2], source="cli")
    with pytest.raises(BackpropagateError) as failure:
        campaigns.add_leg(ws, finished[0], weeks[2], source="cli")
    assert failure.value.code == "STATE_RUN_NOT_ACTIVE"


def test_a_leg_that_would_learn_held_out_rows_is_not_added(ws, finished, weeks, monkeypatch):
    from backprop_core.datasets import legs

    monkeypatch.setattr(
        campaigns, "rows_of", lambda path, memo: type("Rows", (), {"digests": ("1b", "new", "2a")})()
    )
    assert legs.held_out_count(3, 0.0) == 1
    with pytest.raises(BackpropagateError) as failure:
        campaigns.add_leg(ws, finished[0], weeks[2], source="cli")
    assert failure.value.code == "CONFIG_INVALID"
    assert len(LegFiles(finished[1]).plan().legs) == 2
