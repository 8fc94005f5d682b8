"""GGUF files written straight from safetensors weights, and checked.

Torch-free: an adapter is merged on the way in numpy, or tensors come through an injected `TensorSource`.
"""

from backprop_core.gguf.adapter import export_adapter_gguf, why_merge_only
from backprop_core.gguf.estimate import GgufForecast, forecast_gguf
from backprop_core.gguf.export import export_gguf, plan_gguf
from backprop_core.gguf.peft_adapter import Adapter, read_adapter
from backprop_core.gguf.plan import GgufPlan
from backprop_core.gguf.reader import GgufStructure, check_gguf, tensor_digest
from backprop_core.gguf.source import TensorSource
from backprop_core.gguf.types import QUANTIZATIONS, Quantization
from backprop_core.gguf.writer import GgufReport, Progress, ShouldCancel, TensorDigest

__all__ = [
    "QUANTIZATIONS",
    "Adapter",
    "GgufForecast",
    "GgufPlan",
    "GgufReport",
    "GgufStructure",
    "Progress",
    "Quantization",
    "ShouldCancel",
    "TensorDigest",
    "TensorSource",
    "check_gguf",
    "export_adapter_gguf",
    "export_gguf",
    "forecast_gguf",
    "plan_gguf",
    "read_adapter",
    "tensor_digest",
    "why_merge_only",
]
