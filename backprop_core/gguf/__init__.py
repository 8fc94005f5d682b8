"""GGUF files written straight from safetensors weights, and checked.

Torch-free: an adapter is merged on the way in numpy, or tensors come through an injected `TensorSource`.
"""

from backprop_core.gguf.export import export_gguf, plan_gguf
from backprop_core.gguf.plan import GgufPlan
from backprop_core.gguf.source import TensorSource
from backprop_core.gguf.types import QUANTIZATIONS
from backprop_core.gguf.writer import GgufReport

__all__ = ["QUANTIZATIONS", "GgufPlan", "GgufReport", "TensorSource", "export_gguf", "plan_gguf"]
