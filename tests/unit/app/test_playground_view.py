"""What the Playground sends and shows, worked out from what stands on the page."""

from __future__ import annotations

from backprop_app.views import playground as views
from backprop_app.views.playground import TurnView
from backprop_core.config.chats import Finished, Sampling

DEFAULTS = Sampling().model_dump(exclude={"stop"})


def test_each_side_is_reminded_of_its_own_replies():
    turns = [TurnView("Q1", "base says", "tuned says")]
    found = views.conversation(turns, "base", "Be short.", "Q2")
    assert [(turn.role, turn.content) for turn in found] == [
        ("system", "Be short."),
        ("user", "Q1"),
        ("assistant", "base says"),
        ("user", "Q2"),
    ]


def test_a_question_that_a_side_never_answered_is_left_out():
    assert [turn.content for turn in views.conversation([TurnView("Q1", "", "A1")], "base", "", "Q2")] == [
        "Q2"
    ]


def test_the_twins_leave_defaults_out():
    assert views.command_twin("7f3a91c2", "", DEFAULTS, thinking=False) == "7f3a91c2"
    assert views.python_twin("7f3a91c2", "", DEFAULTS, thinking=False) == 'generate("7f3a91c2", "…")'


def test_the_twins_name_what_was_changed():
    values = {**DEFAULTS, "temperature": 0.0, "max_tokens": 64}
    command = views.command_twin("7f3a91c2", "Be kind.", values, thinking=True)
    assert command == "7f3a91c2 --system 'Be kind.' --thinking --temperature 0 --max-tokens 64"
    python = views.python_twin("7f3a91c2", "Be kind.", values, thinking=True)
    assert python == (
        'generate("7f3a91c2", "…", system=\'Be kind.\', enable_thinking=True, temperature=0, max_tokens=64)'
    )


def test_a_slider_keeps_within_its_range_and_an_unknown_one_is_refused():
    assert views.clamped("temperature", 1e9) == 2
    assert views.clamped("top_k", 12.4) == 12
    assert views.clamped("nothing", 1) is None


def test_every_slider_starts_at_the_default_of_the_schema():
    assert {name: view.value for name, view in views.default_sliders().items()} == {
        name: value for name, value in DEFAULTS.items() if name != "seed"
    }


def test_a_reply_tells_tokens_speed_and_how_it_ended():
    end = Finished(id=1, reason="stop", prompt_tokens=9, tokens=42, first_token_s=0.1, seconds=1.0)
    lane = views.ended_lane("text", end)
    assert (lane.note, lane.ending, lane.is_whole) == ("42 tokens, 41 tok/s", "ended by itself", True)


def test_a_reply_that_was_cut_does_not_count_as_whole():
    end = Finished(id=1, reason="length", prompt_tokens=9, tokens=1, first_token_s=0.1, seconds=0.0)
    lane = views.ended_lane("text", end)
    assert (lane.note, lane.ending, lane.is_whole) == ("1 token", "longest reply reached", False)
