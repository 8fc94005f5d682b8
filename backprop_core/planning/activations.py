"""What a forward pass keeps for the backward pass, counted tensor by tensor.

The counts hold for a Llama-like decoder with PEFT adapters under autocast and were compared with
the tensors that autograd really saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backprop_core.planning.load import TrainingLoad
from backprop_core.planning.model_shape import LinearShape

# The loss projects and compares this many supervised tokens at a time.
LOSS_CHUNK_TOKENS: Final = 256
# Per logit of a chunk: its fp32 value and one temporary of that size.
_BYTES_PER_LOGIT: Final = 8
# What the plain PyTorch form of a Gated DeltaNet keeps per token and channel, mostly fp32 copies.
_RECURRENT_BYTES: Final = 36


def activation_bytes(load: TrainingLoad) -> int:
    """Return the bytes that live when the backward pass begins.

    With recompute: the input of each layer, and one layer in full while its turn lasts.
    """
    shape = load.shape
    layer = layer_token_bytes(load)
    # Gradients of the gated MLP, the widest place of the backward pass: six vectors of its width.
    backward = 6 * load.width * shape.intermediate
    top = 6 * load.width * shape.hidden
    if load.recompute:
        return load.tokens * (shape.layers * shape.hidden * load.width + layer + backward + top)
    return load.tokens * (shape.layers * layer + backward + top)


def layer_token_bytes(load: TrainingLoad) -> int:
    """Return the bytes that one layer keeps per token, as the mean over the layers."""
    shape = load.shape
    learning = shape.linears if load.lora_r is None else shape.targets(load.target_modules)
    # A norm that learns keeps its result beside its input.
    norms = 2 * 4 * shape.hidden * (2 if load.lora_r is None else 1)
    kept = norms + _mixing_bytes(load) + 3 * load.width * shape.intermediate
    kept += _input_bytes(load, learning)
    if load.lora_r is not None:
        kept += _per_layer(load, load.width * load.lora_r * sum(linear.count for linear in learning))
    if load.use_dora:
        # Per output the base's result and its scaled copy.
        kept += _per_layer(load, 2 * load.width * sum(linear.outputs * linear.count for linear in learning))
    return kept


def logit_bytes(load: TrainingLoad) -> int:
    """Return the memory of one chunk of the loss, whose logits never exist all at once."""
    chunk = min(LOSS_CHUNK_TOKENS, max(1, load.supervised_tokens))
    gradients = load.supervised_tokens * load.shape.hidden * load.width
    # The head's gradient, in compute precision and in its own.
    head = load.shape.embedding_parameters * (load.width + load.learning_width) if load.lora_r is None else 0
    return chunk * load.shape.vocab * _BYTES_PER_LOGIT + gradients + head


def workspace_bytes(load: TrainingLoad) -> int:
    """Return what single operations take and give back at once.

    A quantized base unpacks its largest matrix in compute precision, twice in a row. DoRA multiplies
    its two factors into a whole matrix by way of an identity matrix to take the norm.
    """
    if load.lora_r is None:
        return 0
    needed = 0
    if load.quantization != "none":
        needed = max(2 * load.width * linear.inputs * linear.outputs for linear in load.shape.linears)
    if load.use_dora:
        needed += max(
            load.width * linear.inputs * (linear.inputs + 4 * linear.outputs)
            for linear in load.shape.targets(load.target_modules)
        )
    return needed


def _mixing_bytes(load: TrainingLoad) -> int:
    """Return what attention keeps: query, key, value and output; or those of a DeltaNet."""
    shape = load.shape
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = load.width * (2 * queries + 2 * keys) + 4 * shape.heads
    if shape.has_qk_norm:
        attention += 4 * (queries + keys)
    if any(linear.name == "qkv_proj" for linear in shape.linears):
        # The value is a view that keeps the whole fused projection alive.
        attention += load.width * (queries + keys)
    if shape.has_gated_query:
        attention += 2 * load.width * queries
    recurrent_layers = next((linear.count for linear in shape.linears if linear.name == "in_proj_qkv"), 0)
    recurrent = _RECURRENT_BYTES * shape.recurrent_channels
    return (attention * (shape.layers - recurrent_layers) + recurrent * recurrent_layers) // shape.layers


def _input_bytes(load: TrainingLoad, learning: Sequence[LinearShape]) -> int:
    """Return the inputs that learning layers keep per token.

    Below fp32 every adapter keeps a cast copy of its own; in fp32 layers of one block that read the
    same vector share it.
    """
    if load.width < 4:
        return _per_layer(load, load.width * sum(linear.inputs * linear.count for linear in learning))
    shared = {(linear.block, linear.inputs, linear.name in _LAST_OF_BLOCK): linear for linear in learning}
    return _per_layer(load, load.width * sum(linear.inputs * linear.count for linear in shared.values()))


_LAST_OF_BLOCK: Final = frozenset({"o_proj", "out_proj", "down_proj"})


def _per_layer(load: TrainingLoad, over_all_layers: int) -> int:
    return over_all_layers // load.shape.layers
