import pickle

import pytest

from backprop_core.errors import (
    CATALOGUE,
    BackpropagateError,
    ConfigError,
    ExitCode,
    InputError,
    InternalError,
    RunError,
    error_from_record,
)


def test_an_error_prints_its_code_and_sentence():
    assert (
        str(InputError("INPUT_RUN_NOT_FOUND", "No run has this id."))
        == "[INPUT_RUN_NOT_FOUND]: No run has this id."
    )


def test_the_hint_of_the_catalogue_stands_unless_a_better_one_is_given():
    assert InputError("INPUT_RUN_NOT_FOUND", "x").hint == CATALOGUE["INPUT_RUN_NOT_FOUND"].hint
    assert InputError("INPUT_RUN_NOT_FOUND", "x", hint="Look again.").hint == "Look again."


def test_a_code_outside_the_catalogue_cannot_be_raised():
    with pytest.raises(KeyError):
        InputError("NO_SUCH_CODE", "x")


@pytest.mark.parametrize(
    ("code", "cls", "exit_code"),
    [
        ("INPUT_VALIDATION_FAILED", InputError, ExitCode.USER),
        ("CONFIG_INVALID", ConfigError, ExitCode.USER),
        ("RUNTIME_GPU_OOM", RunError, ExitCode.RUNTIME),
        ("PARTIAL_SUCCESS", RunError, ExitCode.PARTIAL),
        ("INTERNAL", InternalError, ExitCode.RUNTIME),
    ],
)
def test_a_record_becomes_the_same_error_again(code, cls, exit_code):
    error = error_from_record(cls(code, "A sentence.", step=3).record())
    assert type(error) is cls
    assert (error.code, error.message, error.details, error.exit_code) == (
        code,
        "A sentence.",
        {"step": 3},
        exit_code,
    )


def test_a_record_with_an_unknown_code_becomes_internal():
    record = RunError("INTERNAL", "From a newer worker.").record() | {"code": "RUNTIME_FROM_THE_FUTURE"}
    assert error_from_record(record).code == "INTERNAL"


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(RunError("RUNTIME_DISK_FULL", "Full.", free=3)))
    assert isinstance(error, BackpropagateError)
    assert error.record() == RunError("RUNTIME_DISK_FULL", "Full.", free=3).record()
