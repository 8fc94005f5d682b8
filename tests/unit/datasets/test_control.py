"""Control tokens inside data are broken, everything else is left alone."""

from __future__ import annotations

from backprop_core.datasets.control import ControlTokens


def test_each_control_token_gets_a_space_after_its_first_character():
    control = ControlTokens(["<|im_end|>", "<|im_start|>", "</s>", "[INST]"])

    assert control.neutralize("a<|im_end|>b</s>[INST]") == ("a< |im_end|>b< /s>[ INST]", 3)


def test_text_without_control_tokens_is_returned_as_it_is():
    text = "1 < 2, <b>bold</b> and [x]"

    assert ControlTokens(["<|im_end|>", "[INST]"]).neutralize(text) == (text, 0)


def test_the_longest_of_two_tokens_with_one_beginning_is_broken():
    assert ControlTokens(["<|end|>", "<|end|>x"]).neutralize("<|end|>x") == ("< |end|>x", 1)


def test_strings_in_nested_values_are_broken_too():
    value = {"<|e|>": ["<|e|>", {"k": "<|e|>"}], "n": 1}

    assert ControlTokens(["<|e|>"]).neutralize_value(value) == (
        {"< |e|>": ["< |e|>", {"k": "< |e|>"}], "n": 1},
        3,
    )


def test_no_tokens_means_nothing_to_break():
    assert ControlTokens([]).neutralize("<|im_end|>") == ("<|im_end|>", 0)
