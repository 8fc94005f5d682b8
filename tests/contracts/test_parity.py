"""Flags, variables, keywords, settings file and forms know the same fields of a run."""

from __future__ import annotations

import inspect
import shlex

import pytest
import typer

from backprop_app.views import form
from backprop_core.config.campaigns import (
    CampaignSpec,
    campaign_config_layer,
    campaign_environment_layer,
    campaign_fields,
    resolve_campaign,
)
from backprop_core.config.resolve import Layer, config_layer, environment_layer, resolve_train
from backprop_core.config.schema import train_fields
from backprop_core.config.specs import TrainSpec
from backpropagate import Trainer
from backpropagate.cli.main import build_app
from backpropagate.cli.options import default_text, given_values
from backpropagate.cli.references import environment_variables

FIELDS = [field.name for field in train_fields()]
# A value of each field that differs from its default, as somebody would type it.
OTHER = {
    "model": "smollm2-135m",
    "dataset": "rows.jsonl",
    "name": "night",
    "output_dir": "elsewhere",
    "steps": "7",
    "epochs": "2.5",
    "samples": "9",
    "batch_size": "3",
    "gradient_accumulation": "5",
    "learning_rate": "1e-3",
    "lr_scheduler": "linear",
    "warmup_ratio": "0.2",
    "weight_decay": "0.1",
    "max_grad_norm": "2",
    "max_seq_length": "512",
    "train_on_responses": "off",
    "optim": "adamw_torch",
    "gradient_checkpointing": "on",
    "eval_split": "0.1",
    "sample_prompt": "Who are you?",
    "early_stopping": "3",
    "divergence_limit": "0.2",
    "budget_hours": "8",
    "checkpoint_every": "4",
    "seed": "1",
    "packing": "off",
    "report_to": "none",
    "oom_recovery": "off",
    "after": "export",
    "pause_on_overheat": "off",
    "mode": "full",
    "from_adapter": "output/lora",
    "init_lora_weights": "pissa",
    "lora_preset": "fast",
    "lora_r": "8",
    "lora_alpha": "4",
    "lora_dropout": "0.1",
    "target_modules": "q_proj",
    "use_dora": "on",
    "use_rslora": "on",
    "backend": "transformers",
    "device": "cpu",
    "quantization": "none",
}


def expected(name: str) -> object:
    """Return what `OTHER[name]` means."""
    return getattr(resolve_train([Layer("explicit", {name: OTHER[name]})]).spec, name)


def train_options() -> dict[str, object]:
    command = typer.main.get_command(build_app()).commands["train"]
    return {param.name: param for param in command.params}


def test_every_field_has_a_value_to_try():
    assert sorted(OTHER) == sorted(FIELDS)
    defaults = TrainSpec()
    assert [name for name in FIELDS if expected(name) == getattr(defaults, name)] == []


def test_train_has_an_option_for_every_field_and_its_help_names_the_default():
    options = train_options()
    assert [name for name in FIELDS if name not in options] == []
    for field in train_fields():
        option = options[field.name]
        flags = [*option.opts, *option.secondary_opts]
        assert field.flag.split("/")[0] in flags
        assert field.short is None or field.short in flags
        if (default := default_text(field)) is not None:
            assert f"Default: {default}." in option.help


def test_no_option_of_train_hides_a_default_from_the_lower_sources():
    options = train_options()
    assert [name for name in FIELDS if options[name].default is not None] == []


def test_trainer_has_a_keyword_for_every_field_and_none_besides():
    constructor = set(inspect.signature(Trainer).parameters)
    train = set(inspect.signature(Trainer.train).parameters) - {"self", "callback", "resume_from"}
    assert constructor | train == set(FIELDS)
    assert constructor & train == set()


def test_a_trainer_without_keywords_has_the_defaults_of_the_schema():
    assert Trainer().spec == TrainSpec()


@pytest.mark.parametrize("name", FIELDS)
def test_a_variable_sets_its_field(name, monkeypatch):
    field = next(field for field in train_fields() if field.name == name)
    monkeypatch.setenv(field.env, OTHER[name])
    assert getattr(resolve_train([environment_layer()]).spec, name) == expected(name)


@pytest.mark.parametrize("name", FIELDS)
def test_a_line_of_the_settings_file_sets_its_field(name, tmp_path):
    field = next(field for field in train_fields() if field.name == name)
    path = tmp_path / "config.toml"
    path.write_text(f'[{field.section}]\n{field.env.rpartition("__")[2].lower()} = "{OTHER[name]}"\n')
    assert getattr(resolve_train([config_layer(path)]).spec, name) == expected(name)


@pytest.mark.parametrize(
    "name", [name for name in FIELDS if name not in {"dataset", "steps", "epochs", "samples"}]
)
def test_a_keyword_of_the_trainer_sets_its_field(name):
    assert getattr(Trainer(**{name: expected(name)}).spec, name) == expected(name)


def test_the_list_of_variables_names_every_field():
    listed = {variable.name for variable in environment_variables()}
    assert {field.env for field in train_fields()} <= listed


def test_the_form_of_the_page_shows_every_field_with_its_default():
    spec = TrainSpec()
    shown = {field.name: field for field in form.advanced_fields({}, spec.model_dump(), {}, 0)}
    outside = {"model", "dataset", "output_dir", "lora_preset", "steps", "epochs"}
    assert set(shown) | outside == set(FIELDS)
    draft = {name: field.value for name, field in shown.items()}
    assert resolve_train([Layer("explicit", draft)]).spec == spec


def test_the_command_that_the_page_shows_starts_the_run_of_its_draft():
    draft = {name: OTHER[name] for name in FIELDS if name != "output_dir"}
    words = shlex.split(" ".join(form.command_twin(draft)))
    assert words[:2] == ["backprop", "train"]
    context = typer.main.get_command(build_app()).commands["train"].make_context("train", words[2:])
    given = given_values({name: context.params[name] for name in FIELDS})
    assert resolve_train([Layer("flag", given)]).spec == resolve_train([Layer("explicit", draft)]).spec


def test_the_python_that_the_page_shows_is_the_run_of_its_draft(monkeypatch):
    draft = {name: OTHER[name] for name in FIELDS if name not in {"output_dir", "model", "dataset"}}
    seen = {}

    def record(self, dataset, **counts):
        seen.update(spec=self.spec, counts=counts)

    monkeypatch.setattr(Trainer, "train", record)
    eval(form.python_twin(draft), {"Trainer": Trainer})
    counts = {name: seen["counts"].get(name) for name in ("steps", "epochs", "samples")}
    assert {name: str(value) for name, value in counts.items()} == {name: OTHER[name] for name in counts}
    wanted = resolve_train([Layer("explicit", draft)]).spec
    assert seen["spec"].model_dump(exclude=set(counts)) == wanted.model_dump(exclude=set(counts))


def test_flags_and_variables_are_each_used_once():
    flags = [flag for field in train_fields() for flag in field.flag.split("/")]
    variables = [field.env for field in train_fields()]
    assert len(set(flags)) == len(flags)
    assert len(set(variables)) == len(variables)


# A value of each option of a campaign that differs from its default, as somebody would type it.
OF_A_CAMPAIGN = {
    "num_runs": "3",
    "merge_mode": "average",
    "replay_fraction": "0.25",
    "replay_strategy": "recent",
    "lr_decay": "linear",
    "final_lr": "1e-5",
    "validation": "off",
    "gate": "0.1",
}


def of_a_campaign(name: str) -> object:
    """Return what `OF_A_CAMPAIGN[name]` means."""
    return getattr(resolve_campaign([Layer("explicit", {name: OF_A_CAMPAIGN[name]})]).spec, name)


def test_every_option_of_a_campaign_has_a_value_to_try():
    assert sorted(OF_A_CAMPAIGN) == sorted(field.name for field in campaign_fields())
    defaults = CampaignSpec()
    assert [name for name in OF_A_CAMPAIGN if of_a_campaign(name) == getattr(defaults, name)] == []


def test_multi_run_has_an_option_for_every_field_of_a_run_and_of_a_campaign():
    params = {param.name for param in typer.main.get_command(build_app()).commands["multi-run"].params}
    assert {*FIELDS, *OF_A_CAMPAIGN} - params == {"dataset"}
    assert "data" in params


def test_multi_run_of_the_trainer_has_a_keyword_for_every_option_of_a_campaign():
    keywords = set(inspect.signature(Trainer.multi_run).parameters)
    assert set(OF_A_CAMPAIGN) <= keywords
    assert {"dataset", "steps_per_run", "samples_per_run", "callback"} <= keywords


@pytest.mark.parametrize("name", sorted(OF_A_CAMPAIGN))
def test_a_variable_and_a_line_of_the_settings_file_set_an_option_of_a_campaign(name, monkeypatch, tmp_path):
    field = next(field for field in campaign_fields() if field.name == name)
    path = tmp_path / "config.toml"
    path.write_text(f'[multi_run]\n{field.env.rpartition("__")[2].lower()} = "{OF_A_CAMPAIGN[name]}"\n')
    assert getattr(resolve_campaign([campaign_config_layer(path)]).spec, name) == of_a_campaign(name)
    monkeypatch.setenv(field.env, OF_A_CAMPAIGN[name])
    assert getattr(resolve_campaign([campaign_environment_layer()]).spec, name) == of_a_campaign(name)
