import pytest

from backprop_core.jobs.exits import explain_exit


@pytest.mark.parametrize(
    ("code", "log", "expected"),
    [
        (-9, "", "RUNTIME_TRAINING_ABORTED"),
        (-9, "torch: out of memory", "RUNTIME_GPU_OOM"),
        (-11, "", "RUNTIME_TRAINING_ABORTED"),
        (-6, "terminate called: std::bad_alloc", "RUNTIME_GPU_OOM"),
        (1, "ImportError: no module", "RUNTIME_TRAINING_FAILED"),
        (3, "", "STATE_RUN_LOCKED"),
        (None, "", "RUNTIME_TRAINING_ABORTED"),
        (-99, "", "RUNTIME_TRAINING_ABORTED"),
    ],
)
def test_an_exit_has_a_code(code, log, expected):
    assert explain_exit(code, log)["code"] == expected


def test_the_last_line_of_the_log_stands_in_the_message():
    assert "no module named x" in explain_exit(1, "a\nno module named x\n\n")["message"]
