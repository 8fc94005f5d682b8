"""What `doctor` says about this machine: a pure list of checks over facts that were looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from backprop_core.telemetry.gpu import GpuInfo
from backprop_core.telemetry.torch_probe import TorchFacts
from backprop_core.units import GIB, count, file_size, gib

Status = Literal["ok", "warn", "fail"]

OLDEST_PYTHON: Final = (3, 11)
_UPDATE_TORCH: Final = "pip install --upgrade 'torch>=2.6'"
_DISK_WARN_BYTES: Final = 10_000_000_000
_VRAM_WARN_BYTES: Final = 6 * GIB

# Packages that show an extra as installed, with what the extra is for.
EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "ui": ("reflex", "the web app"),
    "export": ("xllamacpp", "ship proof and playground"),
    "unsloth": ("unsloth", "the unsloth backend"),
    "monitoring": ("tensorboard", "trackers"),
    "validation": ("rensa", "near duplicates in data"),
}
# Below these a model that comes from elsewhere can run code when it is loaded.
FLOORS: Final[Mapping[str, tuple[int, ...]]] = {"torch": (2, 6), "transformers": (5, 3)}
# Below this Ollama reads outside the bounds of a hostile model file.
OLLAMA_FLOOR: Final = (0, 17, 1)
# Packages without which training cannot start.
REQUIRED: Final = ("transformers", "trl", "peft", "accelerate", "datasets", "safetensors")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `doctor`: a name, what was found, and what helps."""

    name: str
    status: Status
    fact: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class DoctorFacts:
    """What the checks judge.

    Attributes:
        packages: installed version by distribution name; None when it is not installed.
        home_lock_error: why the store's folder cannot be locked; empty when it can.
        ollama_version: of the server that answers; empty when none does.
    """

    python: tuple[int, int, int]
    is_macos: bool
    packages: Mapping[str, str | None]
    torch: TorchFacts
    gpu: GpuInfo | None
    cpu_cores: int | None
    ram_total_bytes: int | None
    home: str
    disk_free_bytes: int
    home_lock_error: str
    ollama_version: str = ""


def doctor_checks(facts: DoctorFacts) -> list[Check]:
    """Return every check, in the order in which a problem should be mended."""
    return [
        _python(facts),
        _torch(facts),
        *_cards(facts),
        _host(facts),
        *_required(facts),
        _bitsandbytes(facts),
        *_extras(facts),
        _store(facts),
        _disk(facts),
        *_ollama(facts),
    ]


def _python(facts: DoctorFacts) -> Check:
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < OLDEST_PYTHON:
        return Check("Python", "fail", version, "Install Python 3.11 or newer.")
    return Check("Python", "ok", version)


def _torch(facts: DoctorFacts) -> Check:
    torch = facts.torch
    if torch.version is None:
        return Check("PyTorch", "fail", "not installed", torch.hint)
    kind = (
        f"CUDA {torch.cuda_version}"
        if torch.cuda_version
        else {"cpu": "CPU only"}.get(torch.build, torch.build)
    )
    fact = f"{torch.version}, {kind}"
    if is_below(torch.version, FLOORS["torch"]):
        return Check(
            "PyTorch", "fail", f"{fact}: it can be made to run code by a hostile file", _UPDATE_TORCH
        )
    if facts.is_macos:
        return Check("PyTorch", "warn", fact, "Training needs Linux or Windows; the rest works here.")
    if torch.has_nvidia_gpu and torch.problem:
        return Check("PyTorch", "fail", f"{fact}. {torch.problem}", torch.hint)
    return Check("PyTorch", "ok", fact)


def _cards(facts: DoctorFacts) -> list[Check]:
    gpu = facts.gpu
    if gpu is None:
        fact = facts.torch.problem or "No NVIDIA driver answered."
        hint = "" if facts.is_macos else "Models up to 0.5 B parameters train on the processor."
        return [Check("GPU", "fail" if facts.torch.has_nvidia_gpu else "warn", fact, hint)]
    more = f", first of {count(gpu.count)}" if gpu.count > 1 else ""
    capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "unknown"
    reach = f", CUDA up to {gpu.cuda_version[0]}.{gpu.cuda_version[1]}" if gpu.cuda_version else ""
    is_small = gpu.memory_total_bytes < _VRAM_WARN_BYTES
    return [
        Check(
            "GPU",
            "ok" if gpu.has_bf16 else "warn",
            f"{gpu.name}{more}, compute capability {capability}",
            "" if gpu.has_bf16 else "This card has no bf16; runs use fp32.",
        ),
        Check(
            "VRAM",
            "warn" if is_small else "ok",
            f"{gib(gpu.memory_free_bytes)} of {gib(gpu.memory_total_bytes)} free",
            "Small models fit; `backprop estimate-vram MODEL` says which." if is_small else "",
        ),
        Check("Driver", "ok", f"{gpu.driver_version}{reach}"),
    ]


def _host(facts: DoctorFacts) -> Check:
    cores = f"{count(facts.cpu_cores)} cores" if facts.cpu_cores else "cores unknown"
    memory = f"{gib(facts.ram_total_bytes)} memory" if facts.ram_total_bytes else "memory unknown"
    return Check("Processor", "ok", f"{cores}, {memory}")


def _required(facts: DoctorFacts) -> list[Check]:
    checks = []
    for name in REQUIRED:
        version = facts.packages.get(name)
        if version is None:
            checks.append(Check(name, "fail", "not installed", f"pip install {name}"))
        elif name in FLOORS and is_below(version, FLOORS[name]):
            floor = ".".join(map(str, FLOORS[name]))
            fact = f"{version}: it can be made to run code by a hostile model"
            checks.append(Check(name, "fail", fact, f"pip install '{name}>={floor}'"))
        else:
            checks.append(Check(name, "ok", version))
    return checks


def _bitsandbytes(facts: DoctorFacts) -> Check:
    version = facts.packages.get("bitsandbytes")
    if version is not None:
        return Check("bitsandbytes", "ok", version)
    status: Status = "warn" if facts.torch.can_use_cuda else "ok"
    hint = "pip install bitsandbytes: 4-bit weights and 8-bit optimizers need it." if status == "warn" else ""
    return Check("bitsandbytes", status, "not installed", hint)


def _extras(facts: DoctorFacts) -> list[Check]:
    checks = []
    for extra, (package, purpose) in EXTRAS.items():
        version = facts.packages.get(package)
        if version is not None:
            checks.append(Check(f"extra {extra}", "ok", f"{package} {version}"))
        else:
            hint = f"pip install 'backpropagate[{extra}]' for {purpose}."
            checks.append(Check(f"extra {extra}", "warn", "not installed", hint))
    if facts.packages.get("pynvml") is not None:
        hint = "pip uninstall pynvml; pip install --force-reinstall nvidia-ml-py"
        checks.append(Check("pynvml", "warn", "the old package hides nvidia-ml-py", hint))
    return checks


def _ollama(facts: DoctorFacts) -> list[Check]:
    if not facts.ollama_version:
        return []
    if is_below(facts.ollama_version, OLLAMA_FLOOR):
        fact = f"{facts.ollama_version} reads hostile model files unsafely"
        return [Check("Ollama", "warn", fact, "Update it to 0.17.1 or newer: https://ollama.com/download")]
    return [Check("Ollama", "ok", facts.ollama_version)]


def is_below(version: str, floor: tuple[int, ...]) -> bool:
    """Return whether a version is older than `floor`; one that cannot be read is not."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return found is not None and tuple(int(part or 0) for part in found.groups()) < floor


def _store(facts: DoctorFacts) -> Check:
    if facts.home_lock_error:
        hint = "Set BACKPROPAGATE_HOME to a folder on a local disk."
        return Check("Store", "fail", f"{facts.home} cannot be locked: {facts.home_lock_error}", hint)
    return Check("Store", "ok", facts.home)


def _disk(facts: DoctorFacts) -> Check:
    fact = f"{file_size(facts.disk_free_bytes)} free at {facts.home}"
    if facts.disk_free_bytes < _DISK_WARN_BYTES:
        return Check("Disk", "warn", fact, "A 7 B model takes 15 GB; free space or move BACKPROPAGATE_HOME.")
    return Check("Disk", "ok", fact)
