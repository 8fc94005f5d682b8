"""A PEFT adapter folder, read and understood: which matrices it changes, and how.

Torch-free and pickle-free. What the merge formulas of this package cannot express is refused here
by name. The arithmetic itself stands in `lora`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core.errors import InputError, RunError
from backprop_core.gguf.source import TensorSource, open_adapter

_CONFIG_BYTES_MAX: Final = 1 << 20
_PREFIX: Final = "base_model.model."
_KEY: Final = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?P<leaf>\.weight|\.bias)?"
)
_NESTED_REPEAT: Final = re.compile(r"\)\s*[*+?{]")
_PATTERN_LENGTH_MAX: Final = 200
# Options of PEFT that change the forward pass in a way that is not W + s·B·A.
_UNSUPPORTED: Final = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
# Start values that leave the base matrix as it is; every other one moves part of it into the adapter.
_PLAIN_STARTS: Final = (True, False, None, "gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True, slots=True)
class LoraModule:
    """One adapted matrix.

    Attributes:
        target: name of the base tensor, for example `model.layers.0.self_attn.q_proj.weight`.
        a: name of the stored factor of shape `(rank, in)`.
        b: name of the stored factor of shape `(out, rank)`.
        magnitude: name of DoRA's stored row lengths `(out,)`, if any.
        rank: the rank.
        scale: what `B @ A` is multiplied with.
        is_embedding: whether the factors belong to an embedding, where both are stored transposed.
    """

    target: str
    a: str
    b: str
    magnitude: str | None
    rank: int
    scale: float
    is_embedding: bool


@dataclass(frozen=True, slots=True)
class Adapter:
    """A whole adapter.

    Attributes:
        folder: where it lies.
        base_model: what its config calls its base.
        modules: base tensor name to adapted matrix.
        replaced: base tensor name to the stored tensor that stands in for it (`modules_to_save`, biases).
        takes_principal_part: whether the base lost its principal part to the adapter (PiSSA, not converted).
        keeps_tied: whether output and input embedding stay one matrix although the adapter changes it.
        alpha: the `lora_alpha` of modules without a pattern, times sqrt(rank) for rsLoRA.
        source: the stored tensors.
    """

    folder: Path
    base_model: str
    modules: Mapping[str, LoraModule]
    replaced: Mapping[str, str]
    takes_principal_part: bool
    keeps_tied: bool
    alpha: float
    source: TensorSource

    @property
    def uses_dora(self) -> bool:
        """Whether any matrix carries DoRA magnitudes."""
        return any(module.magnitude is not None for module in self.modules.values())


def read_adapter(folder: Path, rename: Callable[[str], str | None] = str) -> Adapter:
    """Read a PEFT LoRA adapter folder.

    Args:
        folder: holds `adapter_config.json` and `adapter_model.safetensors`.
        rename: maps a checkpoint's tensor name to the canonical one.

    Raises:
        InputError: a file is missing or damaged.
        RunError: RUNTIME_MERGE_EXPORT_FAILED, the adapter uses a form that cannot be merged here.
    """
    config = _read_config(folder)
    _require_mergeable(config)
    source = open_adapter(folder)
    parts: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    for name in source.names():
        bare = name.removeprefix(_PREFIX).replace(".modules_to_save.", ".").replace(".base_layer.", ".")
        match = _KEY.fullmatch(bare)
        if match is None:
            replaced[rename(bare) or bare] = name
        elif match["leaf"] == ".bias":
            raise _cannot_merge(f"{name!r} is a bias inside the adapter")
        else:
            parts.setdefault(match["module"], {})[match["part"]] = name
    modules = [_module(module, stored, source, config, rename) for module, stored in parts.items()]
    if not modules and not replaced:
        raise _cannot_merge(f"{folder} holds no LoRA weights")
    return Adapter(
        folder=folder,
        base_model=str(config.get("base_model_name_or_path") or ""),
        modules={module.target: module for module in modules},
        replaced=replaced,
        takes_principal_part=config.get("init_lora_weights") == "pissa",
        keeps_tied=bool(config.get("ensure_weight_tying")),
        alpha=_scale(config, "", _rank(config, "")) * _rank(config, ""),
        source=source,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{folder} holds no adapter_config.json.")
    if path.stat().st_size > _CONFIG_BYTES_MAX:
        raise InputError("INPUT_VALIDATION_FAILED", f"{path} is too large for a configuration.")
    try:
        config = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise InputError("INPUT_VALIDATION_FAILED", f"{path} is not JSON.") from error
    if not isinstance(config, dict):
        raise InputError("INPUT_VALIDATION_FAILED", f"{path} is no configuration.")
    return config


def _require_mergeable(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise _cannot_merge(f"its method is {config.get('peft_type')!r}, not LORA")
    for option in _UNSUPPORTED:
        if config.get(option):
            raise _cannot_merge(f"it uses {option}")
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS and start != "pissa":
        raise _cannot_merge(
            f"it started as {start!r}, which moved part of the base into the adapter in a way that cannot be repeated",
            hint="Save it again with PEFT's path_initial_model_for_weight_conversion, which makes it a plain LoRA.",
        )


def _module(
    module: str,
    stored: Mapping[str, str],
    source: TensorSource,
    config: Mapping[str, Any],
    rename: Callable[[str], str | None],
) -> LoraModule:
    is_embedding = "lora_embedding_A" in stored
    first, second = ("lora_embedding_A", "lora_embedding_B") if is_embedding else ("lora_A", "lora_B")
    if first not in stored or second not in stored:
        raise _cannot_merge(f"{module!r} has only one of its two factors")
    magnitude = stored.get("lora_magnitude_vector")
    if is_embedding and magnitude is not None:
        raise _cannot_merge(f"{module!r} is an embedding with DoRA")
    rank = _rank(config, module)
    shape_a, shape_b = source.shape(stored[first]), source.shape(stored[second])
    if len(shape_a) != 2 or len(shape_b) != 2 or shape_a[0] != rank or shape_b[1] != rank:
        raise _cannot_merge(f"{module!r} should have rank {rank}, its factors are {shape_a} and {shape_b}")
    return LoraModule(
        target=rename(f"{module}.weight") or f"{module}.weight",
        a=stored[first],
        b=stored[second],
        magnitude=magnitude,
        rank=rank,
        scale=_scale(config, module, rank),
        is_embedding=is_embedding,
    )


def _rank(config: Mapping[str, Any], module: str) -> int:
    rank = _by_pattern(config.get("rank_pattern"), module, config.get("r"))
    if type(rank) is not int or rank < 1:
        raise _cannot_merge(f"its rank is {rank!r}")
    return rank


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _cannot_merge(f"its lora_alpha is {alpha!r}")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(patterns: Any, module: str, default: Any) -> Any:
    """Return the value of the first pattern that ends `module`, as PEFT looks it up."""
    if not isinstance(patterns, dict):
        return default
    for pattern, value in patterns.items():
        if len(pattern) > _PATTERN_LENGTH_MAX or _NESTED_REPEAT.search(pattern):
            raise _cannot_merge(
                f"its pattern {pattern[:60]!r} repeats a group, which could match without end"
            )
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            raise _cannot_merge(f"its pattern {pattern!r} is no regular expression") from error
    return default


def _cannot_merge(reason: str, *, hint: str | None = None) -> RunError:
    return RunError("RUNTIME_MERGE_EXPORT_FAILED", f"The adapter cannot be merged: {reason}.", hint=hint)
