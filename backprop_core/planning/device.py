"""Which device a run takes, in which precision, and why a machine cannot train a model."""

from __future__ import annotations

from typing import Final

from backprop_core.config.resolve import FieldProblem
from backprop_core.config.specs import TrainSpec
from backprop_core.planning.records import DeviceKind, MachineFacts, ModelFacts, Precision
from backprop_core.units import compact

# Largest model that trains on a processor without being told to.
CPU_PARAMETERS: Final = 500_000_000

_DOCTOR: Final = "`backprop doctor` says what PyTorch sees."


def choose_device(spec: TrainSpec, machine: MachineFacts) -> DeviceKind:
    """Return where the run trains: CUDA where a card can be used, unless the spec names a device."""
    if spec.device != "auto":
        return spec.device
    return "cpu" if machine.gpu is None else "cuda"


def choose_precision(*, has_bf16: bool) -> Precision:
    """Return how weights are held and multiplied: bf16 where the device does it itself."""
    return "bf16" if has_bf16 else "fp32"


def device_problems(spec: TrainSpec, machine: MachineFacts, model: ModelFacts) -> list[FieldProblem]:
    """Return why this machine cannot train this model; empty when it can."""
    if machine.system == "macos":
        message = "Training needs Linux or Windows; macOS runs the app, the data work and the playground."
        return [FieldProblem("device", "DEP_GPU_NOT_AVAILABLE", message, "Start the run on another machine.")]
    device = choose_device(spec, machine)
    if device == "cuda":
        return [] if machine.gpu is not None else [_no_card(machine)]
    return [*_too_large(spec, machine, model), *_cuda_only(spec)]


def _no_card(machine: MachineFacts) -> FieldProblem:
    why = machine.gpu_problem or "No NVIDIA driver answered."
    return FieldProblem(
        "device",
        "DEP_GPU_NOT_AVAILABLE",
        f"The run asks for CUDA, which cannot be used: {why}",
        f"{_DOCTOR} Small models train with --device cpu.",
    )


def _too_large(spec: TrainSpec, machine: MachineFacts, model: ModelFacts) -> list[FieldProblem]:
    shape = model.shape
    if spec.device == "cpu" or shape is None or shape.total_parameters <= CPU_PARAMETERS:
        return []
    why = machine.gpu_problem or "No NVIDIA driver answered."
    return [
        FieldProblem(
            "device",
            "DEP_GPU_NOT_AVAILABLE",
            f"{model.name} has {compact(shape.total_parameters)} parameters and no CUDA card can be used. {why}",
            f"{_DOCTOR} Choose smollm2-135m, or train on the processor all the same with --device cpu.",
        )
    ]


def _cuda_only(spec: TrainSpec) -> list[FieldProblem]:
    problems = []
    if spec.quantization in {"4bit", "8bit"}:
        problems.append(
            FieldProblem(
                "quantization",
                "INPUT_VALIDATION_FAILED",
                f"Weights in {spec.quantization} need CUDA; this run trains on the processor.",
                "Use --quantization none or auto.",
            )
        )
    if spec.optim in {"adamw_8bit", "paged_adamw_8bit"}:
        problems.append(
            FieldProblem(
                "optim",
                "INPUT_VALIDATION_FAILED",
                f"The optimizer {spec.optim} needs CUDA; this run trains on the processor.",
                "Use --optim adamw_torch or auto.",
            )
        )
    return problems
