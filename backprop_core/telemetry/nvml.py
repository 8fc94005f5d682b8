"""The border to NVIDIA's management library: calls by name, errors as one type.

`nvidia-ml-py` is optional and its functions differ between versions; nothing else imports it.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

UNINITIALIZED: Final = 1
NOT_SUPPORTED: Final = 3
NO_PERMISSION: Final = 4
NOT_FOUND: Final = 6
DRIVER_NOT_LOADED: Final = 9
LIBRARY_NOT_FOUND: Final = 12
FUNCTION_NOT_FOUND: Final = 13
GPU_IS_LOST: Final = 15
VERSION_MISMATCH: Final = 18


# After these no other call can work.
GONE: Final = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, GPU_IS_LOST, VERSION_MISMATCH})
# Answers that stay the same as long as the process lives.
LASTING: Final = frozenset({NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND})


class NvmlError(Exception):
    """A call of the library failed; `code` is NVML's own."""

    def __init__(self, function: str, code: int) -> None:
        super().__init__(f"{function} failed with NVML code {code}")
        self.code = code


class Nvml(Protocol):
    """What the reader needs of the library; tests put a fake in its place."""

    def call(self, function: str, *arguments: Any) -> Any:
        """Call `function` of the library.

        Raises:
            NvmlError: it failed, is missing or not supported.
        """


class PyNvml:
    """The real library through `pynvml`, imported at the first call."""

    def call(self, function: str, *arguments: Any) -> Any:
        """Call `function`; a library or function that is not there is an `NvmlError` as well."""
        try:
            import pynvml
        except ImportError as error:
            raise NvmlError("import pynvml", LIBRARY_NOT_FOUND) from error
        target = getattr(pynvml, function, None)
        if target is None:
            raise NvmlError(function, FUNCTION_NOT_FOUND)
        try:
            return target(*arguments)
        except pynvml.NVMLError as error:
            raise NvmlError(function, int(error.value)) from error
