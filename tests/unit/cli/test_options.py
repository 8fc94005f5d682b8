from __future__ import annotations

import inspect

from backprop_core.config.schema import train_field
from backpropagate.cli.options import default_text, flags_of, given_values, help_of, with_schema


def test_a_yes_or_no_field_has_both_flags():
    assert flags_of(train_field("use_dora")) == ("--use-dora/--no-use-dora",)


def test_flags_that_the_schema_spells_out_stay():
    assert flags_of(train_field("oom_recovery")) == ("--oom-recovery/--no-oom-recovery",)


def test_a_short_flag_follows_the_long_one():
    assert flags_of(train_field("dataset")) == ("--data", "-d")


def test_help_tells_meaning_range_and_default():
    assert help_of(train_field("checkpoint_every")) == (
        "Steps between checkpoints. A kill costs at most this many steps; auto keeps about ten per run. "
        "Takes at least 1, at most 10,000,000, or auto. Default: auto."
    )


def test_a_small_default_is_written_as_people_write_it():
    assert default_text(train_field("learning_rate")) == "2e-4"


def test_a_field_without_a_default_has_none_in_its_help():
    assert default_text(train_field("samples")) is None


def test_only_options_that_were_given_are_values():
    assert given_values({"steps": "0", "epochs": None, "use_dora": False}) == {
        "steps": "0",
        "use_dora": False,
    }


def test_own_options_of_a_command_come_before_the_fields():
    @with_schema
    def command(detach: bool = False, **fields: str) -> None: ...

    names = list(inspect.signature(command).parameters)
    assert names[:3] == ["detach", "model", "dataset"]
    assert "fields" not in names
