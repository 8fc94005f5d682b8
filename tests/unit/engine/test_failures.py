"""Codes for the errors of training libraries."""

from __future__ import annotations

import errno

import pytest

from backprop_core.engine.failures import classify, is_out_of_memory
from backprop_core.errors import RunError


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    "error, code",
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "RUNTIME_GPU_OOM"),
        (RuntimeError("CUDA error: out of memory"), "RUNTIME_GPU_OOM"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "RUNTIME_GPU_OOM"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
            "RUNTIME_GPU_OOM",
        ),
        (MemoryError(), "RUNTIME_GPU_OOM"),
        (RuntimeError("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."), "RUNTIME_GPU_LOST"),
        (RuntimeError("CUDA error: unspecified launch failure"), "RUNTIME_GPU_LOST"),
        (OSError(errno.ENOSPC, "No space left on device"), "RUNTIME_DISK_FULL"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "RUNTIME_DISK_FULL"),
        (ValueError("something else"), "RUNTIME_TRAINING_FAILED"),
        (KeyError("xid"), "RUNTIME_TRAINING_FAILED"),
    ],
)
def test_an_error_gets_its_code(error, code):
    assert classify(error).code == code


def test_our_own_error_passes_through():
    error = RunError("RUNTIME_LOSS_NOT_FINITE", "no number")
    assert classify(error) is error


def test_the_cause_is_found_below_a_wrapper():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as cause:
            raise RuntimeError("could not save") from cause
    except RuntimeError as error:
        assert classify(error).code == "RUNTIME_DISK_FULL"


def test_the_message_names_the_error_without_secrets():
    message = classify(ValueError("bad token hf_abcdefghijkl\nsecond line")).message
    assert message == "Training ended with ValueError: bad token [redacted]"


def test_a_plain_error_is_no_memory_error():
    assert not is_out_of_memory(ValueError("out of memory"))
