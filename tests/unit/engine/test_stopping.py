"""Text is cut before a stop, however the pieces fall, and nothing is shown that a stop may still take back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backprop_core.engine.chat.stopping import StopFilter


def shown(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    stop_filter = StopFilter(stops)
    text = "".join(stop_filter.push(piece) for piece in pieces)
    return text + stop_filter.rest(), stop_filter.is_stopped


def test_without_stops_everything_passes_at_once():
    assert StopFilter(()).push("abc") == "abc"


def test_a_stop_within_one_piece_cuts_it():
    assert shown(["one STOP two"], ["STOP"]) == ("one ", True)


def test_the_beginning_of_a_stop_is_held_back():
    stop_filter = StopFilter(["END"])
    assert stop_filter.push("the E") == "the "
    assert stop_filter.push("ast") == "East"


def test_the_first_of_two_stops_counts():
    assert shown(["a b c"], ["c", "b"]) == ("a ", True)


def test_what_is_held_back_comes_when_the_text_ends():
    assert shown(["an E"], ["END"]) == ("an E", False)


@given(
    st.lists(st.text("ab#", max_size=4), max_size=8),
    st.lists(st.text("ab#", min_size=1, max_size=3), max_size=3),
)
def test_pieces_make_no_difference(pieces, stops):
    whole = "".join(pieces)
    ends = [at for stop in stops if (at := whole.find(stop)) >= 0]
    assert shown(pieces, stops) == ((whole[: min(ends)], True) if ends else (whole, False))
