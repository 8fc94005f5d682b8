"""Gathers what `doctor` judges; works also when the store cannot be opened."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from backprop_core import platform
from backprop_core.errors import BackpropagateError
from backprop_core.files import free_bytes
from backprop_core.services import ollama
from backprop_core.services.system import look_at_card
from backprop_core.telemetry.checks import EXTRAS, REQUIRED, Check, DoctorFacts, doctor_checks
from backprop_core.telemetry.host import HostReader


def check_machine(home: Path) -> list[Check]:
    """Return every check of this machine, in the order in which a problem should be mended.

    Args:
        home: the folder of the store.
    """
    card = look_at_card()
    host = HostReader().read()
    names = [*REQUIRED, "bitsandbytes", "pynvml", *(package for package, _ in EXTRAS.values())]
    facts = DoctorFacts(
        python=sys.version_info[:3],
        is_macos=platform.MACOS,
        packages={name: _version(name) for name in names},
        torch=card.torch,
        gpu=card.gpu,
        cpu_cores=host.cores,
        ram_total_bytes=host.ram_total_bytes,
        home=str(home),
        disk_free_bytes=free_bytes(home),
        home_lock_error=_lock_error(home),
        ollama_version=_ollama_version(),
    )
    return doctor_checks(facts)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ollama_version() -> str:
    try:
        return ollama.status().version
    except BackpropagateError:
        return ""


def _lock_error(home: Path) -> str:
    try:
        with platform.private_umask():
            home.mkdir(parents=True, exist_ok=True)
        lock = platform.FileLock(home / "probe.lock")
        lock.acquire()
        lock.release()
    except OSError as error:
        return error.strerror or str(error)
    return ""
