"""Facts for plans: a small machine, a card, the tutorial model, a 7 B model, data."""

from __future__ import annotations

from typing import Any

from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.records import DataFacts, GpuFacts, MachineFacts, ModelFacts, PlanFacts
from backprop_core.units import GIB
from tests.support import configs

SMALL = ModelShape.from_config(configs.SMOLLM2_135M)
LARGE = ModelShape.from_config(configs.QWEN25_7B)

PROCESSOR = MachineFacts(
    system="linux",
    cpu_cores=8,
    ram_free_bytes=26 * GIB,
    ram_total_bytes=31 * GIB,
    cpu_has_bf16=True,
    gpu_problem="No NVIDIA driver answered.",
)


def machine_with_card(free_gib: float = 14.9, *, has_bf16: bool = True) -> MachineFacts:
    """Return a machine whose card has `free_gib` of 16 GiB free."""
    card = GpuFacts("NVIDIA GeForce RTX 4070 Ti SUPER", int(free_gib * GIB), 16 * GIB, has_bf16)
    return MachineFacts("linux", 8, 26 * GIB, 31 * GIB, cpu_has_bf16=True, gpu=card)


def model(shape: ModelShape | None = SMALL, name: str = "smollm2-135m", **changes: Any) -> ModelFacts:
    """Return a model that is on this machine."""
    return ModelFacts(name, shape, **{"source": "cache", "download_bytes": 0, **changes})


def data(rows: int = 100, *, tokens: int = 300, supervised: int = 100, **changes: Any) -> DataFacts:
    """Return `rows` rows of `tokens` tokens each, of which `supervised` carry loss."""
    figures = {
        "rows": rows,
        "usable_rows": rows,
        "tokens": rows * tokens,
        "supervised_tokens": rows * supervised,
        "longest_tokens": tokens,
        "p95_tokens": tokens,
    }
    return DataFacts(**{**figures, **changes})


def facts(**changes: Any) -> PlanFacts:
    """Return the tutorial model with 100 rows on a processor, changed by `changes`."""
    given = {
        "machine": PROCESSOR,
        "model": model(),
        "data": data(),
        "disk_free_bytes": 200_000_000_000,
        "disk_total_bytes": 500_000_000_000,
    }
    return PlanFacts(**{**given, **changes})
