"""What this machine is and what is installed on it."""

from __future__ import annotations

import os
import platform as python_platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final, Protocol, TypeVar

from backprop_core import platform
from backprop_core.files import free_bytes
from backprop_core.planning.records import GpuFacts, MachineFacts, System
from backprop_core.telemetry.gpu import GpuInfo, GpuReader, gpu_info
from backprop_core.telemetry.host import HostReader, cpu_has_bf16
from backprop_core.telemetry.torch_probe import TorchFacts, find_torch, system_has_nvidia_device, torch_facts
from backprop_core.version import __version__
from backprop_core.workspace import Workspace

_T = TypeVar("_T")

LIBRARIES: Final = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "gguf",
    "reflex",
)
EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "ui": ("reflex", "fastapi", "uvicorn", "psutil", "nvidia-ml-py"),
    "export": ("xllamacpp",),
    "unsloth": ("unsloth",),
}


class Remembers(Protocol):
    """Keeps an answer; see `facts.Memo`."""

    def get(self, key: Any, make: Any) -> Any:
        """Return the answer for `key`, made when it is not kept."""
        ...


@dataclass(frozen=True, slots=True)
class Card:
    """The card and the PyTorch beside it."""

    gpu: GpuInfo | None
    torch: TorchFacts


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What `backprop info` tells."""

    version: str
    python: str
    system: str
    libraries: dict[str, str | None]
    extras: dict[str, bool]
    torch_build: str
    cuda_version: str | None
    gpu_name: str | None
    gpu_memory_bytes: int | None
    gpu_problem: str
    cpu_cores: int
    ram_total_bytes: int | None
    home: str
    disk_free_bytes: int


def look_at_card() -> Card:
    """Ask driver and installed packages about a card; torch is not imported."""
    gpu, problem = gpu_info(GpuReader())
    facts = torch_facts(find_torch(), gpu, problem, has_nvidia_device=system_has_nvidia_device())
    return Card(gpu, facts)


def machine_facts(memo: Remembers) -> MachineFacts:
    """Return the machine as the planner sees it; the card is looked up once, free memory each time."""
    card: Card = memo.get("card", look_at_card)
    host = HostReader().read()
    gpu = None
    if card.torch.can_use_cuda and (now := gpu_info(GpuReader())[0]) is not None:
        gpu = GpuFacts(now.name, now.memory_free_bytes, now.memory_total_bytes, has_bf16=now.has_bf16)
    return MachineFacts(
        system=_system(),
        cpu_cores=host.cores or os.cpu_count() or 1,
        ram_free_bytes=host.ram_available_bytes or 0,
        ram_total_bytes=host.ram_total_bytes or 0,
        cpu_has_bf16=cpu_has_bf16(),
        gpu=gpu,
        gpu_problem=card.torch.problem,
    )


def info(ws: Workspace) -> SystemInfo:
    """Return versions, device and extras of this installation."""
    card = look_at_card()
    host = HostReader().read()
    return SystemInfo(
        version=__version__,
        python=python_platform.python_version(),
        system=python_platform.platform(),
        libraries={name: _version(name) for name in LIBRARIES},
        extras={name: all(_version(part) for part in parts) for name, parts in EXTRAS.items()},
        torch_build=card.torch.build,
        cuda_version=card.torch.cuda_version,
        gpu_name=card.gpu.name if card.gpu else None,
        gpu_memory_bytes=card.gpu.memory_total_bytes if card.gpu else None,
        gpu_problem=card.torch.problem,
        cpu_cores=host.cores or os.cpu_count() or 1,
        ram_total_bytes=host.ram_total_bytes,
        home=str(ws.home),
        disk_free_bytes=free_bytes(ws.home),
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system() -> System:
    if platform.WINDOWS:
        return "windows"
    return "macos" if sys.platform == "darwin" else "linux"
