"""What the planner is told and what it answers. Frozen records, no logic, no I/O.

Whoever asks for a plan looks the facts up (machine, model, data, disk); None stands for unknown,
never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backprop_core.config.resolve import FieldProblem
from backprop_core.planning.model_shape import ModelShape

System = Literal["linux", "windows", "macos"]
DeviceKind = Literal["cuda", "cpu"]
Precision = Literal["bf16", "fp32"]
Quantization = Literal["none", "4bit", "8bit"]
Optimizer = Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit"]
Tone = Literal["frozen", "adapter", "gradients", "optimizer", "activations", "spare"]


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A CUDA card that the installed PyTorch can use."""

    name: str
    free_bytes: int
    total_bytes: int
    has_bf16: bool = True


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The machine that would train.

    Attributes:
        gpu: None when no card can be used; `gpu_problem` then says why in one sentence.
        cpu_has_bf16: whether the processor multiplies bf16 itself (AVX512-BF16, AMX, Arm BF16).
    """

    system: System
    cpu_cores: int
    ram_free_bytes: int
    ram_total_bytes: int
    cpu_has_bf16: bool = False
    gpu: GpuFacts | None = None
    gpu_problem: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The base model.

    Attributes:
        shape: None when its `config.json` cannot be read yet.
        source: where it would be loaded from.
        download_bytes: what must be fetched first; 0 when it is here, None when unknown.
    """

    name: str
    shape: ModelShape | None = None
    source: Literal["folder", "cache", "hub", "wheel", "unknown"] = "unknown"
    download_bytes: int | None = None
    licence: str = ""
    licence_note: str = ""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """One pass over the rows that the run would use, cut to the run's length.

    Attributes:
        rows, usable_rows: rows read, and those of them that a model can learn from.
        tokens, supervised_tokens: sums over usable rows after cutting.
        longest_tokens, p95_tokens: of rows before cutting.
        truncated_rows: rows longer than the run's length.
        is_estimate: whether the token figures are scaled up from a part of the rows.
    """

    rows: int
    usable_rows: int
    tokens: int
    supervised_tokens: int
    longest_tokens: int
    p95_tokens: int
    truncated_rows: int = 0
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """Real tokens per second of an earlier run on this machine; `source` names it."""

    tokens_per_s: float
    source: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """How forecasts on this device compared with measured peaks.

    Attributes:
        runs: finished runs that were compared.
        ratio: mean of measured by forecast peak.
        spread: largest distance of one run's ratio from the mean.
    """

    runs: int
    ratio: float
    spread: float


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """Everything that `make_plan` is told besides the spec."""

    machine: MachineFacts
    model: ModelFacts
    data: DataFacts | None = None
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    speed: MeasuredSpeed | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """One component of the peak."""

    name: str
    label: str
    bytes: int
    tone: Tone


@dataclass(frozen=True, slots=True)
class Derived:
    """A value that was worked out, with its reason in a few words and in one paragraph.

    Attributes:
        field: the field of `TrainSpec` that it stands for.
        aside: a second, smaller figure, for example the alpha beside the rank.
    """

    field: str
    label: str
    value: str
    reason: str
    detail: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change that helps: `field` set to `value` by a button."""

    text: str
    field: str
    value: str | int
    button: str


@dataclass(frozen=True, slots=True)
class Choices:
    """The values that take the place of "auto" in the spec, by the spec's own field names."""

    lora_r: int
    lora_alpha: float
    batch_size: int
    gradient_accumulation: int
    quantization: Quantization
    optim: Optimizer
    gradient_checkpointing: Literal["on", "off"]
    device: DeviceKind
    checkpoint_every: int
    steps: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the run will do and need. An empty `problems` means that it can start.

    Attributes:
        components: parts of the peak in drawing order; empty when the model's shape is unknown.
        peak_bytes, peak_error_bytes: forecast of device memory (VRAM on CUDA, resident on a CPU).
        peak_source: where the error bar comes from.
        comparable_bytes: to be kept with the run and compared with its memory figure by `calibrate`.
        free_bytes: device memory that is free now.
        fits: whether the forecast lies within it; None when there is no forecast.
        tokens, supervised_tokens: over the whole run.
        time_s, time_source: forecast with its origin; None when there is no ground for one.
        disk_bytes: what the run adds to the disk at most, the download included.
    """

    device: DeviceKind
    device_name: str
    precision: Precision
    components: tuple[MemoryPart, ...]
    peak_bytes: int | None
    peak_error_bytes: int | None
    peak_source: str
    comparable_bytes: int | None
    free_bytes: int
    fits: bool | None
    steps: int
    epochs: float | None
    rows: int | None
    tokens: int | None
    supervised_tokens: int | None
    supervised_share: float | None
    tokens_are_estimate: bool
    time_s: float | None
    time_source: str
    disk_bytes: int | None
    disk_free_bytes: int | None
    download_bytes: int | None
    trainable_parameters: int | None
    choices: Choices
    derived: tuple[Derived, ...]
    suggestion: Suggestion | None
    problems: tuple[FieldProblem, ...]
