"""The device that trains, what it can compute in, and what it uses of its memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from typing import Final, Literal

import torch

from backprop_core import platform
from backprop_core.errors import DependencyError

Precision = Literal["bf16", "fp16", "fp32"]

_REPORTED: Final = ("backpropagate", "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


_DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Device:
    """Where the model lies and in which precision it computes."""

    torch: torch.device
    name: str
    precision: Precision

    @property
    def is_cuda(self) -> bool:
        """Whether it is a CUDA card."""
        return bool(self.torch.type == "cuda")

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of frozen weights and of matrix products."""
        return _DTYPES[self.precision]

    def memory_bytes(self) -> int:
        """Return the peak of the card, or the resident memory of the process on a processor."""
        if self.is_cuda:
            return int(torch.cuda.max_memory_allocated(self.torch))
        return platform.process_memory_bytes()


def select_device(wanted: Literal["auto", "cuda", "cpu"]) -> Device:
    """Return the device that `wanted` names.

    Raises:
        DependencyError: DEP_GPU_NOT_AVAILABLE, a card is demanded and PyTorch can use none.
    """
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise DependencyError("DEP_GPU_NOT_AVAILABLE", "--device cuda: PyTorch finds no CUDA device here.")
    if wanted != "cpu" and has_cuda:
        card = torch.device("cuda", torch.cuda.current_device())
        precision: Precision = "bf16" if torch.cuda.get_device_capability(card)[0] >= 8 else "fp16"
        return Device(card, torch.cuda.get_device_name(card), precision)
    name = str(torch.cpu.get_capabilities().get("cpu_name") or "CPU")
    return Device(torch.device("cpu"), name, "bf16" if cpu_has_bf16() else "fp32")


def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 itself; emulation is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def use_physical_cores() -> None:
    """Let torch use one thread per physical core, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        cores = int(torch.cpu.get_capabilities().get("num_physical_cores") or os.cpu_count() or 1)
        torch.set_num_threads(cores)


def library_versions() -> dict[str, str]:
    """Return the installed versions of the libraries that decide over a run."""
    found = {}
    for name in _REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
