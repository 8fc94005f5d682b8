from __future__ import annotations

from dataclasses import replace

import pytest

from backprop_core.telemetry.checks import Check, DoctorFacts, doctor_checks
from backprop_core.telemetry.gpu import GpuInfo
from backprop_core.telemetry.torch_probe import TorchInstall, torch_facts

CARD = GpuInfo("NVIDIA GeForce RTX 4090", 24 << 30, 23 << 30, (8, 9), "581.29", (13, 0), 1)
CUDA_TORCH = TorchInstall("2.13.0", "12.8", has_cuda_library=True)
CPU_TORCH = TorchInstall("2.13.0+cpu", None, has_cuda_library=False)
PACKAGES = {
    "transformers": "5.17.0",
    "trl": "1.14.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "datasets": "4.8.5",
    "safetensors": "0.8.0",
    "bitsandbytes": "0.50.2",
    "reflex": "0.10.1",
    "xllamacpp": "2026.11",
    "unsloth": "2026.10.7",
    "tensorboard": "2.20",
    "rensa": "0.2",
}
GOOD = DoctorFacts(
    python=(3, 11, 7),
    is_macos=False,
    packages=PACKAGES,
    torch=torch_facts(CUDA_TORCH, CARD, ""),
    gpu=CARD,
    cpu_cores=8,
    ram_total_bytes=32 << 30,
    home="/home/ada/.backpropagate",
    disk_free_bytes=200_000_000_000,
    home_lock_error="",
)


def _named(facts: DoctorFacts, name: str) -> Check:
    return next(check for check in doctor_checks(facts) if check.name == name)


def test_a_good_machine_passes_every_check():
    assert [check for check in doctor_checks(GOOD) if check.status != "ok"] == []


def test_card_memory_and_driver_are_stated():
    facts = {check.name: check.fact.replace("\u00a0", " ") for check in doctor_checks(GOOD)}
    assert facts["GPU"] == "NVIDIA GeForce RTX 4090, compute capability 8.9"
    assert facts["VRAM"] == "23.0 GiB of 24.0 GiB free"
    assert facts["Driver"] == "581.29, CUDA up to 13.0"


def test_a_cpu_only_torch_beside_a_card_fails_with_the_way_out():
    check = _named(replace(GOOD, torch=torch_facts(CPU_TORCH, CARD, "")), "PyTorch")
    assert check.status == "fail"
    assert "built without CUDA" in check.fact
    assert check.hint.startswith("Install a CUDA build")


def test_a_machine_without_a_card_only_warns():
    why = "No NVIDIA driver answered."
    facts = replace(GOOD, torch=torch_facts(CPU_TORCH, None, why), gpu=None)
    assert _named(facts, "GPU") == Check(
        "GPU", "warn", why, "Models up to 0.5 B parameters train on the processor."
    )
    assert _named(facts, "PyTorch").status == "ok"


def test_a_card_whose_driver_is_mute_fails():
    torch = torch_facts(
        CUDA_TORCH, None, "The NVIDIA driver was updated; restart the machine.", has_nvidia_device=True
    )
    assert _named(replace(GOOD, torch=torch, gpu=None), "GPU").status == "fail"


def test_a_card_without_bf16_warns():
    facts = replace(GOOD, gpu=replace(CARD, compute_capability=(7, 5)))
    assert _named(facts, "GPU").status == "warn"


def test_a_missing_library_fails_with_the_line_to_type():
    facts = replace(GOOD, packages={**PACKAGES, "trl": None})
    assert _named(facts, "trl") == Check("trl", "fail", "not installed", "pip install trl")


def test_a_missing_extra_warns_with_the_line_to_type():
    facts = replace(GOOD, packages={**PACKAGES, "xllamacpp": None})
    assert _named(facts, "extra export") == Check(
        "extra export",
        "warn",
        "not installed",
        "pip install 'backpropagate[export]' for ship proof and playground.",
    )


def test_the_package_that_hides_nvidias_own_is_named():
    facts = replace(GOOD, packages={**PACKAGES, "pynvml": "13.0.1"})
    assert _named(facts, "pynvml").status == "warn"


def test_a_store_that_refuses_locks_fails():
    check = _named(replace(GOOD, home_lock_error="Operation not supported"), "Store")
    assert check.status == "fail"
    assert check.fact == "/home/ada/.backpropagate cannot be locked: Operation not supported"


def test_a_nearly_full_disk_warns():
    assert _named(replace(GOOD, disk_free_bytes=5_000_000_000), "Disk").status == "warn"


def test_an_old_python_fails():
    assert _named(replace(GOOD, python=(3, 10, 4)), "Python").status == "fail"


@pytest.mark.parametrize(("version", "status"), [("2.5.1+cu124", "fail"), ("2.6.0", "ok"), ("2.13.0", "ok")])
def test_a_torch_that_unpickles_unsafely_fails(version, status):
    torch = torch_facts(TorchInstall(version, "12.8", has_cuda_library=True), CARD, "")
    assert _named(replace(GOOD, torch=torch), "PyTorch").status == status


@pytest.mark.parametrize(("version", "status"), [("4.57.1", "fail"), ("5.2.9", "fail"), ("5.3.0", "ok")])
def test_a_transformers_that_runs_code_of_a_config_fails(version, status):
    facts = replace(GOOD, packages={**PACKAGES, "transformers": version})
    assert _named(facts, "transformers").status == status


@pytest.mark.parametrize(("version", "status"), [("0.17.0", "warn"), ("0.17.1", "ok"), ("1.0.0", "ok")])
def test_an_ollama_that_reads_outside_of_a_file_is_warned_of(version, status):
    assert _named(replace(GOOD, ollama_version=version), "Ollama").status == status


def test_without_a_server_nothing_is_said_of_ollama():
    assert [check for check in doctor_checks(GOOD) if check.name == "Ollama"] == []
