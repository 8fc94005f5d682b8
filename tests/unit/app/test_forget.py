"""What the forget-meter says in each cell."""

from __future__ import annotations

from backprop_app.views.forget import HeatCell, heat, signed

NAMES = ["billing", "returns", "spanish"]
BASE = [1.71, 1.66, 2.12]


def test_each_row_is_told_against_the_base_model() -> None:
    shown = heat(NAMES, BASE, [[1.03, 1.55, 2.13], None, None])
    assert [row.label for row in shown.rows] == [
        "Base model",
        "After 1 billing",
        "After 2 returns",
        "After 3 spanish",
    ]
    assert [cell.text for cell in shown.rows[0].cells] == ["1.71", "1.66", "2.12"]
    assert [cell.text for cell in shown.rows[1].cells] == ["−0.68", "−0.11", "+0.01"]
    assert [cell.tone for cell in shown.rows[1].cells] == ["better", "better", "worse"]


def test_the_set_of_the_leg_is_outlined_and_no_other() -> None:
    shown = heat(NAMES, BASE, [[1.03, 1.55, 2.13], [1.05, 1.0, 2.2], None])
    assert [[cell.is_taught for cell in row.cells] for row in shown.rows[1:3]] == [
        [True, False, False],
        [False, True, False],
    ]


def test_the_largest_change_has_the_strongest_tone() -> None:
    cells = heat(NAMES, BASE, [[1.03, 1.55, 2.13], None, None]).rows[1].cells
    assert [cell.weight for cell in cells] == ["44%", "18%", "13%"]


def test_what_is_to_come_is_empty_and_a_failed_measurement_a_dash() -> None:
    shown = heat(NAMES, BASE, [[1.03, None, 2.13]])
    assert shown.rows[1].cells[1].text == "–"
    assert shown.rows[2].cells == [HeatCell(), HeatCell(), HeatCell()]


def test_a_change_that_rounds_to_nothing_has_no_sign_and_no_tone() -> None:
    cell = heat(["a"], [1.0], [[1.001]]).rows[1].cells[0]
    assert (cell.text, cell.tone, cell.words) == ("0.00", "flat", "as the base model, loss 1.0010")


def test_nothing_is_shown_before_the_base_model_is_measured() -> None:
    assert heat(NAMES, [], []).rows == []


def test_a_sign_is_written_out() -> None:
    assert [signed(0.071), signed(-0.68), signed(0.0)] == ["+0.07", "−0.68", "0.00"]


def test_a_leg_that_was_added_later_has_no_numbers_in_earlier_rows() -> None:
    shown = heat(["a", "b"], [1.0], [[0.5], [0.6, 0.7]])
    assert [cell.text for cell in shown.rows[1].cells] == ["−0.50", "–"]
    assert [cell.text for cell in shown.rows[2].cells] == ["−0.40", "–"]
