"""The failure card and the end of the worker's log."""

from __future__ import annotations

from backprop_app.views.detail import FailureView, failure_view, without_warnings
from backprop_core.errors import RunError
from tests.unit.app.test_run_views import state

WARNING = "2026-11-24 12:31:08,146 WARNING py.warnings: /site/tqdm.py:176: UserWarning: No progress bars."
ERROR = "2026-11-24 12:31:09,001 ERROR backprop_core.engine.worker: it broke"


def test_a_warning_goes_with_its_source_line_and_its_empty_line() -> None:
    log = ["run_started run_id=7f3a", WARNING, "  warnings.warn(", "", ERROR, "Traceback", '  File "x"']
    assert without_warnings(log) == ["run_started run_id=7f3a", ERROR, "Traceback", '  File "x"']


def test_a_warning_that_a_library_prints_itself_goes_too() -> None:
    assert without_warnings(["/site/a.py:12: FutureWarning: soon", "  old()", ERROR]) == [ERROR]


def test_an_error_right_behind_a_warning_stays() -> None:
    assert without_warnings([WARNING, "Traceback (most recent call last):", "  raise"]) == [
        "Traceback (most recent call last):",
        "  raise",
    ]


def failed(**changes: object) -> FailureView:
    error = RunError("RUNTIME_TRAINING_FAILED", "It broke.").record()
    return failure_view(state(status="failed", error=error, **changes))


def test_the_first_fix_names_the_checkpoint_and_what_is_done_again() -> None:
    card = failed(step=1262, checkpoint_step=1200)
    assert (card.resume_title, card.resume_text) == (
        "Resume at step 1,200",
        "From the verified checkpoint; 62 steps taken again.",
    )


def test_without_a_checkpoint_the_first_fix_begins_again() -> None:
    assert failed(step=3).resume_title == "Start this run again"
