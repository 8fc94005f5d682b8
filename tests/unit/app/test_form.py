"""The Train form in words, and its twins on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

from backprop_app.views import form
from backprop_core.config.schema import train_fields
from backprop_core.config.specs import TrainSpec

SPEC = TrainSpec().model_dump()


def test_the_command_says_what_was_chosen_and_nothing_else() -> None:
    draft = {"model": "smollm2-135m", "dataset": "my data.jsonl", "steps": "60", "train_on_responses": "off"}
    assert form.command_twin(draft) == (
        "backprop train",
        "-m smollm2-135m -d 'my data.jsonl' --steps 60 --no-train-on-responses",
    )


def test_the_python_twin_puts_each_keyword_where_it_belongs() -> None:
    draft = {
        "model": "smollm2-135m",
        "dataset": "a.jsonl",
        "steps": "60",
        "learning_rate": "1e-4",
        "oom_recovery": "off",
    }
    assert form.python_twin(draft) == (
        'Trainer("smollm2-135m", learning_rate=1e-4, oom_recovery=False).train("a.jsonl", steps=60)'
    )


def test_a_path_below_the_current_folder_is_shown_short(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert form.shown_path(str(tmp_path / "data" / "a.jsonl")) == "data/a.jsonl"
    assert form.shown_path("/elsewhere/a.jsonl") == "/elsewhere/a.jsonl"


def test_every_field_of_the_schema_is_on_the_page() -> None:
    shown = {view.name for view in form.advanced_fields({}, SPEC, {}, 0)}
    outside = {"model", "dataset", "lora_preset", "steps", "epochs"}
    assert {field.name for field in train_fields()} - shown - outside == {"output_dir"}


def test_a_changed_field_knows_its_rule() -> None:
    draft = {"learning_rate": "1e-4"}
    fields = {view.name: view for view in form.advanced_fields(draft, SPEC, {"learning_rate": "too low"}, 3)}
    rate = fields["learning_rate"]
    assert (rate.value, rate.rule, rate.changed, rate.error) == ("1e-4", "2e-4", True, "too low")
    assert fields["seed"].changed is False
    assert form.advanced_text(list(fields.values())) == f"{len(fields)} settings, 1 changed"


def test_a_switch_offers_on_and_off() -> None:
    fields = {view.name: view for view in form.advanced_fields({}, SPEC, {}, 0)}
    assert fields["use_dora"].choices == ["on", "off"]
    assert fields["use_dora"].value == "off"
    assert fields["optim"].choices[0] == "auto"
    assert fields["lora_r"].choices == []


def test_a_spec_comes_back_as_the_draft_that_asks_for_it() -> None:
    spec = TrainSpec(model="smollm2-135m", dataset="/d/a.jsonl", steps=None, epochs=2.0, use_dora=True)
    assert form.draft_of(spec) == {
        "model": "smollm2-135m",
        "dataset": "/d/a.jsonl",
        "lora_preset": "quality",
        "steps": "",
        "epochs": "2",
        "use_dora": "on",
    }
    asked = TrainSpec.model_validate(form.draft_of(spec))
    assert (asked.steps, asked.epochs, asked.use_dora) == (None, 2.0, True)


def test_shipped_files_are_marked(tmp_path) -> None:
    examples = tmp_path / "examples"
    examples.mkdir()
    for path in (examples / "quickstart.jsonl", tmp_path / "own.jsonl"):
        path.write_text("{}")
    options = form.data_options([examples / "quickstart.jsonl", tmp_path / "own.jsonl"], Path(examples))
    assert [(option.label, option.aside) for option in options] == [
        ("quickstart.jsonl", "shipped"),
        ("own.jsonl", ""),
    ]
