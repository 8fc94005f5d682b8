"""The failure card and the end of the worker's log."""

from __future__ import annotations

from backprop_app.views.detail import FailureView, failure_view, without_warnings
from backprop_core.config.specs import TrainSpec
from backprop_core.errors import RunError
from backprop_core.services.failure import card_of
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


def test_the_card_numbers_its_fixes_and_tells_a_resume_from_a_new_run() -> None:
    error = RunError("RUNTIME_GPU_OOM", "Memory ran out.").record()
    spec = TrainSpec(batch_size=4, gradient_accumulation=4)
    run = state(status="failed", error=error, step=1262, checkpoint_step=1200)
    view = failure_view(card_of(error, run, spec))
    assert [(fix.number, fix.is_resume) for fix in view.fixes] == [
        (0, False),
        (1, False),
        (2, False),
        (3, True),
    ]
    assert (view.fixes[3].title, view.fixes[3].effect) == (
        "Resume at step 1,200",
        "From the verified checkpoint; 62 steps taken again.",
    )


def test_a_run_that_did_not_end_badly_has_no_card() -> None:
    assert failure_view(None) == FailureView()
