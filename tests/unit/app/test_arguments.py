"""Arguments from outside against the signature of a handler."""

from __future__ import annotations

from typing import Any

import pytest

from backprop_app.arguments import check_arguments


class State:
    def takes(self, name: str, page: int, share: float = 0.5, on: bool = False) -> None:
        """Stand in for a handler."""

    def form(self, values: dict[str, str]) -> None:
        """Stand in for the handler of a form."""

    def open(self, value: Any) -> None:
        """Stand in for a handler without a type."""


GOOD = {"name": "a", "page": 3}


def test_arguments_come_in_the_types_that_the_handler_declares():
    assert check_arguments(State.takes, {"name": 7, "page": "3", "share": 1, "on": "true"}) == {
        "name": "7",
        "page": 3,
        "share": 1.0,
        "on": True,
    }
    assert check_arguments(State.takes, GOOD) == GOOD
    assert check_arguments(State.form, {"values": {"path": "x"}}) == {"values": {"path": "x"}}


def test_the_fields_of_a_submitted_form_arrive_as_names_and_values():
    sent = {"values": {"__reflex_form_data__": [["model", "smollm2-135m"]]}}
    assert check_arguments(State.form, sent) == {"values": {"model": "smollm2-135m"}}


@pytest.mark.parametrize(
    "entries", [None, 3, "ab", [3], [["a"]], [[["a"], "b"]], [["a", {}]], [["a", "b", "c"]]]
)
def test_what_only_looks_like_a_form_is_refused(entries):
    with pytest.raises(ValueError):
        check_arguments(State.form, {"values": {"__reflex_form_data__": entries}})


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"name": "a"},
        GOOD | {"other": 1},
        GOOD | {"name": None},
        GOOD | {"name": ["a"]},
        GOOD | {"name": {}},
        GOOD | {"name": "x" * 100_001},
        GOOD | {"name": "a\0b"},
        GOOD | {"page": "x"},
        GOOD | {"page": 1.5},
        GOOD | {"page": None},
        GOOD | {"page": 10**40},
        GOOD | {"page": -(10**40)},
        GOOD | {"share": float("nan")},
        GOOD | {"share": float("inf")},
        GOOD | {"share": "NaN"},
        GOOD | {"share": 1e305},
        GOOD | {"on": "perhaps"},
        [],
        None,
        "name",
    ],
)
def test_a_call_with_other_arguments_is_refused(payload):
    with pytest.raises(ValueError, match=r"."):
        check_arguments(State.takes, payload)


@pytest.mark.parametrize("value", [float("nan"), 10**40, "x" * 100_001, [[{"a": [float("inf")]}]]])
def test_a_handler_without_a_type_gets_no_monster_either(value):
    with pytest.raises(ValueError, match=r"."):
        check_arguments(State.open, {"value": value})
    assert check_arguments(State.open, {"value": [1, {"a": None}]}) == {"value": [1, {"a": None}]}


def test_a_refusal_does_not_repeat_the_value():
    with pytest.raises(ValueError, match="page") as caught:
        check_arguments(State.takes, GOOD | {"page": "<img src=x>"})
    assert "<img" not in str(caught.value)
