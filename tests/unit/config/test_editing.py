from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop_core.config.editing import remove_value, set_value
from backprop_core.errors import ConfigError


def test_a_table_that_is_missing_is_added_at_the_end():
    assert set_value("a = 1\n", "ui.port", 8000) == "a = 1\n\n[ui]\nport = 8000\n"


def test_a_value_joins_its_table_before_the_next_one():
    text = "[ui]\nport = 1\n\n[lora]\nr = 8\n"
    assert set_value(text, "ui.host", "::1") == '[ui]\nport = 1\nhost = "::1"\n\n[lora]\nr = 8\n'


def test_a_value_of_the_top_comes_before_the_first_table():
    assert set_value("[ui]\nport = 1\n", "debug", True) == "debug = true\n\n[ui]\nport = 1\n"


def test_a_key_of_another_table_is_not_touched():
    text = "[a]\nport = 1\n[b]\nport = 2\n"
    assert set_value(text, "b.port", 3) == "[a]\nport = 1\n[b]\nport = 3\n"


def test_removing_what_is_not_there_changes_nothing():
    assert remove_value("[ui]\nport = 1\n", "ui.host") == "[ui]\nport = 1\n"


def test_a_value_over_several_lines_is_left_to_its_author():
    text = '[run]\nname = """\nx = 1\n"""\n'
    with pytest.raises(ConfigError) as caught:
        set_value(text, "run.name", "night")
    assert caught.value.code == "CONFIG_INVALID"


def test_a_key_written_as_part_of_an_inline_table_is_left_to_its_author():
    with pytest.raises(ConfigError):
        set_value("ui = { port = 1 }\n", "ui.port", 2)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_as_it_was(value):
    text = set_value("", "run.name", value)
    assert tomllib.loads(text) == {"run": {"name": value}}
    assert tomllib.loads(set_value(text, "run.name", "night")) == {"run": {"name": "night"}}
