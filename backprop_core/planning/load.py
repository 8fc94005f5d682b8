"""What a training run holds in memory at once, as plain sizes."""

from __future__ import annotations

from dataclasses import dataclass

from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.records import DeviceKind, Optimizer, Precision, Quantization


@dataclass(frozen=True, slots=True)
class TrainingLoad:
    """One micro-batch of a run.

    Attributes:
        lora_r: rank of the adapter; None trains every weight (full mode).
        tokens: of the micro-batch; nothing is padded.
        row_tokens: tokens of the longest row.
        supervised_tokens: of the micro-batch.
        recompute: whether only layer inputs are kept and the rest is computed again.
    """

    shape: ModelShape
    device: DeviceKind
    precision: Precision
    quantization: Quantization
    optim: Optimizer
    lora_r: int | None
    target_modules: str
    use_dora: bool
    tokens: int
    row_tokens: int
    supervised_tokens: int
    recompute: bool

    @property
    def width(self) -> int:
        """Bytes of a number in the precision of the computation."""
        return 4 if self.precision == "fp32" else 2

    @property
    def trainable_parameters(self) -> int:
        """Parameters that learn."""
        if self.lora_r is None:
            return self.shape.total_parameters
        return self.shape.adapter_parameters(self.lora_r, self.target_modules, use_dora=self.use_dora)
