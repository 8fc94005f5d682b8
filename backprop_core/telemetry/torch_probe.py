"""What the installed PyTorch can do on this machine, found out without importing it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from backprop_core.telemetry.gpu import NO_ANSWER, GpuInfo

_CUDA_LIBRARIES: Final = ("libtorch_cuda.so", "torch_cuda.dll")
_INSTALL: Final = (
    "Install a CUDA build of PyTorch; pytorch.org/get-started/locally shows the line for this system."
)


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """The installed PyTorch beside the card that the driver shows.

    Attributes:
        version: as the package states it; None when it is not installed.
        cuda_version: that it was built for, for example "12.8".
        problem: why it cannot use a card, in one sentence; empty when it can.
        hint: what helps.
    """

    version: str | None
    build: Literal["cpu", "cuda", "unknown"]
    cuda_version: str | None
    has_nvidia_gpu: bool
    problem: str
    hint: str

    @property
    def can_use_cuda(self) -> bool:
        """Whether nothing speaks against training on the card."""
        return self.build == "cuda" and self.has_nvidia_gpu and not self.problem


@dataclass(frozen=True, slots=True)
class TorchInstall:
    """What lies on the disk.

    Attributes:
        declared_cuda: `cuda` in the package's own `version.py`; None when it is None or absent.
        has_cuda_library: whether its CUDA library is there.
    """

    version: str
    declared_cuda: str | None
    has_cuda_library: bool


def find_torch() -> TorchInstall | None:
    """Return the installed PyTorch from its metadata and files; None when there is none."""
    try:
        distribution = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file("torch")))
    return read_torch(distribution.version, folder)


def read_torch(version: str, folder: Path) -> TorchInstall:
    """Return what the package folder of PyTorch says about its build."""
    try:
        text = (folder / "version.py").read_text(encoding="utf-8")
    except OSError:
        text = ""
    declared = re.search(r"^cuda\b[^=\n]*= *'([^']+)'", text, re.MULTILINE)
    has_library = any((folder / "lib" / name).exists() for name in _CUDA_LIBRARIES)
    return TorchInstall(version, declared[1] if declared else None, has_library)


def torch_facts(
    install: TorchInstall | None, gpu: GpuInfo | None, gpu_problem: str, *, has_nvidia_device: bool = False
) -> TorchFacts:
    """Judge whether PyTorch can use the card.

    Args:
        install: what lies on the disk.
        gpu: the card that the driver shows.
        gpu_problem: why it shows none.
        has_nvidia_device: whether the system knows an NVIDIA device although the library does not answer.
    """
    has_gpu = gpu is not None or has_nvidia_device
    if install is None:
        hint = "pip install torch"
        return TorchFacts(None, "unknown", None, has_gpu, "PyTorch is not installed.", hint)
    cuda = _cuda_version(install)
    build = _build(install, cuda)
    problem, hint = _judge(build, cuda, gpu, gpu_problem, has_gpu=has_gpu)
    return TorchFacts(install.version, build, cuda, has_gpu, problem, hint)


def system_has_nvidia_device(proc: Path = Path("/proc/driver/nvidia/gpus")) -> bool:
    """Return whether the Linux driver lists a card, without asking its library."""
    try:
        return any(proc.iterdir())
    except OSError:
        return False


def _cuda_version(install: TorchInstall) -> str | None:
    if install.declared_cuda is not None:
        return install.declared_cuda
    local = re.search(r"\+cu(\d+)(\d)$", install.version)
    return f"{local[1]}.{local[2]}" if local else None


def _build(install: TorchInstall, cuda: str | None) -> Literal["cpu", "cuda", "unknown"]:
    if cuda is not None or install.has_cuda_library:
        return "cuda"
    local = install.version.partition("+")[2]
    # A build for other accelerators carries its name (rocm, xpu) and is none of both.
    return "cpu" if local in {"", "cpu"} else "unknown"


def _judge(
    build: str, cuda: str | None, gpu: GpuInfo | None, gpu_problem: str, *, has_gpu: bool
) -> tuple[str, str]:
    if not has_gpu:
        return gpu_problem or "No NVIDIA driver answered.", "Small models train on the processor."
    if build != "cuda":
        name = gpu.name if gpu is not None else "an NVIDIA card"
        return f"This PyTorch is built without CUDA, and the machine has {name}.", _INSTALL
    if gpu is None:
        return (
            gpu_problem or NO_ANSWER,
            "Restart the machine, or install the driver again.",
        )
    if cuda is not None and gpu.cuda_version is not None and int(cuda.split(".")[0]) > gpu.cuda_version[0]:
        driver = f"{gpu.cuda_version[0]}.{gpu.cuda_version[1]}"
        message = f"PyTorch is built for CUDA {cuda}; driver {gpu.driver_version} reaches {driver}."
        return message, f"Update the NVIDIA driver, or install a PyTorch for CUDA {gpu.cuda_version[0]}."
    return "", ""
