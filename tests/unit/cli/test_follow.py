from __future__ import annotations

import pytest

from backprop_core.errors import ErrorRecord, RunError
from backpropagate.cli.follow import exit_code_of
from tests.unit.cli.test_progress import state

ERROR = ErrorRecord(
    code="RUNTIME_GPU_OOM", message="Memory ran out.", hint="Less.", retryable=False, details={}
)


@pytest.mark.parametrize(
    ("status", "was_interrupted", "code"),
    [
        ("completed", False, 0),
        ("completed", True, 0),
        ("stopped", False, 0),
        ("stopped", True, 130),
        ("interrupted", True, 130),
        ("interrupted", False, 2),
        ("failed", False, 2),
    ],
)
def test_the_exit_code_follows_from_how_the_run_ended(status, was_interrupted, code):
    assert exit_code_of(state(status=status), was_interrupted=was_interrupted) == code


def test_a_failed_run_is_its_error():
    with pytest.raises(RunError) as caught:
        exit_code_of(state(status="failed", error=ERROR), was_interrupted=False)
    assert (caught.value.code, caught.value.exit_code) == ("RUNTIME_GPU_OOM", 2)
