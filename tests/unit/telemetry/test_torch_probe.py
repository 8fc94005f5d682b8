from __future__ import annotations

import subprocess
import sys

from backprop_core.telemetry.gpu import GpuInfo
from backprop_core.telemetry.torch_probe import (
    TorchInstall,
    find_torch,
    read_torch,
    system_has_nvidia_device,
    torch_facts,
)

CARD = GpuInfo("NVIDIA GeForce RTX 4090", 24 << 30, 23 << 30, (8, 9), "535.10", (12, 2), 1)
NO_DRIVER = "No NVIDIA driver answered."


def test_the_installed_torch_is_found_without_importing_it():
    code = (
        "import sys; from backprop_core.telemetry.torch_probe import find_torch; "
        "print(find_torch().version, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    install = find_torch()
    assert install is not None
    assert done.stdout.split() == [install.version, "False"]


def test_build_is_read_from_the_packages_own_version_file(tmp_path):
    (tmp_path / "version.py").write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip = None\n")
    assert read_torch("2.13.0", tmp_path) == TorchInstall("2.13.0", "12.8", has_cuda_library=False)


def test_a_cpu_build_declares_no_cuda(tmp_path):
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\n")
    assert read_torch("2.13.0+cpu", tmp_path) == TorchInstall("2.13.0+cpu", None, has_cuda_library=False)


def test_cuda_library_is_seen_when_the_version_file_is_missing(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtorch_cuda.so").touch()
    facts = torch_facts(read_torch("2.13.0", tmp_path), CARD, "")
    assert (facts.build, facts.can_use_cuda) == ("cuda", True)


def test_cuda_version_comes_from_the_local_version_when_nothing_else_tells():
    facts = torch_facts(TorchInstall("2.13.0+cu121", None, has_cuda_library=False), CARD, "")
    assert (facts.build, facts.cuda_version) == ("cuda", "12.1")


def test_a_cuda_build_beside_a_card_has_no_problem():
    facts = torch_facts(TorchInstall("2.13.0", "12.8", has_cuda_library=True), CARD, "")
    assert (facts.can_use_cuda, facts.problem) == (True, "")


def test_a_cpu_only_torch_beside_a_card_is_found():
    facts = torch_facts(TorchInstall("2.13.0+cpu", None, has_cuda_library=False), CARD, "")
    assert not facts.can_use_cuda
    assert facts.problem == "This PyTorch is built without CUDA, and the machine has NVIDIA GeForce RTX 4090."
    assert facts.hint.startswith("Install a CUDA build of PyTorch")


def test_a_cpu_only_torch_beside_a_card_is_found_without_the_library():
    facts = torch_facts(
        TorchInstall("2.13.0+cpu", None, has_cuda_library=False), None, NO_DRIVER, has_nvidia_device=True
    )
    assert facts.problem == "This PyTorch is built without CUDA, and the machine has an NVIDIA card."


def test_a_driver_older_than_torchs_cuda_is_found():
    facts = torch_facts(TorchInstall("2.13.0", "13.0", has_cuda_library=True), CARD, "")
    assert facts.problem == "PyTorch is built for CUDA 13.0; driver 535.10 reaches 12.2."


def test_a_newer_minor_version_of_the_same_cuda_is_no_problem():
    assert torch_facts(TorchInstall("2.13.0", "12.8", has_cuda_library=True), CARD, "").problem == ""


def test_a_device_whose_driver_is_mute_is_a_problem():
    facts = torch_facts(
        TorchInstall("2.13.0", "12.8", has_cuda_library=True),
        None,
        "The NVIDIA driver was updated; restart the machine.",
        has_nvidia_device=True,
    )
    assert facts.problem == "The NVIDIA driver was updated; restart the machine."


def test_a_machine_without_a_card_trains_on_the_processor():
    facts = torch_facts(TorchInstall("2.13.0+cpu", None, has_cuda_library=False), None, NO_DRIVER)
    assert (facts.has_nvidia_gpu, facts.problem) == (False, NO_DRIVER)


def test_a_missing_torch_is_named():
    assert torch_facts(None, CARD, "").problem == "PyTorch is not installed."


def test_a_build_for_other_accelerators_is_not_called_cpu():
    install = TorchInstall("2.13.0+rocm6.4", None, has_cuda_library=False)
    assert torch_facts(install, None, NO_DRIVER).build == "unknown"


def test_the_kernel_drivers_list_shows_a_card(tmp_path):
    (tmp_path / "0000:01:00.0").mkdir()
    assert system_has_nvidia_device(tmp_path)
    assert not system_has_nvidia_device(tmp_path / "absent")
