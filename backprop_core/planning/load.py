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
    def learning_width(self) -> int:
        """Bytes of a weight that learns.

        Adapters are held in fp32, in bf16 on a quantized base, which the trainer does. In full mode a
        processor holds the model in fp32, a card as it computes.
        """
        if self.lora_r is None:
            return 4 if self.device == "cpu" else self.width
        return 4 if self.quantization == "none" else 2

    @property
    def cast_width(self) -> int:
        """Bytes of the copy of a learning weight in the precision of the computation; 0 without one."""
        return self.width if self.width < self.learning_width else 0

    @property
    def trainable_parameters(self) -> int:
        """Parameters that learn."""
        if self.lora_r is None:
            return self.shape.total_parameters
        return self.shape.adapter_parameters(self.lora_r, self.target_modules, use_dora=self.use_dora)
