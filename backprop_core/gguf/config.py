"""A model's `config.json` as the exporter needs it: one flat view, old and new spellings united.

Only JSON is read; no code that a model folder names is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core.errors import InputError

_BYTES_MAX: Final = 4 << 20
# More than any count of a model; a larger one would only fill the memory with row orders.
_COUNT_MAX: Final = 1 << 24
_NUMBER_MAX: Final = 1e12


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The configuration of a text model.

    Attributes:
        architecture: the class name that the checkpoint was saved from.
        values: the text part, flat.
        rope: rotary settings with `rope_theta` and `rope_type` in one place.
    """

    architecture: str
    values: Mapping[str, Any]
    rope: Mapping[str, Any]

    def count(self, key: str, default: int | None = None) -> int:
        """Return a positive whole number.

        Raises:
            InputError: the value is missing or no positive whole number.
        """
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 1 <= value <= _COUNT_MAX:
            raise InputError("INPUT_VALIDATION_FAILED", f"config.json gives {key} as {value!r}.")
        return value

    def number(self, key: str) -> float:
        """Return a positive real number.

        Raises:
            InputError: the value is missing or no such number.
        """
        return _number(self.values.get(key), key)

    def rope_number(self, key: str, default: float | None = None) -> float:
        """Return a positive real number of the rotary settings.

        Raises:
            InputError: the value is missing or no such number.
        """
        value = self.rope.get(key)
        return default if value is None and default is not None else _number(value, f"rope {key}")

    def listed(self, key: str) -> list[Any] | None:
        """Return a list, or None when the configuration has none.

        Raises:
            InputError: the value is no list.
        """
        return _listed(self.values.get(key), key)

    def rope_numbers(self, key: str) -> list[float]:
        """Return a list of numbers of the rotary settings; empty when there is none.

        Raises:
            InputError: the value is no list of numbers.
        """
        return [_number(item, f"rope {key}") for item in _listed(self.rope.get(key), f"rope {key}") or []]

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return self.count("num_hidden_layers")

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.count("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.count("num_key_value_heads", self.heads)

    @property
    def head_size(self) -> int:
        """Columns of one attention head."""
        return self.count("head_dim", self.count("hidden_size") // self.heads)

    @property
    def is_tied(self) -> bool:
        """Whether the embedding serves as output matrix too."""
        return bool(self.values.get("tie_word_embeddings"))


def read_config(folder: Path) -> ModelConfig:
    """Read `config.json` of a model folder.

    Raises:
        InputError: the folder or file is missing, or not a configuration of an unquantized model.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{folder} is no model folder: it holds no config.json.")
    if path.stat().st_size > _BYTES_MAX:
        raise InputError("INPUT_VALIDATION_FAILED", f"{path} is too large for a configuration.")
    try:
        raw = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise InputError("INPUT_VALIDATION_FAILED", f"{path} is not JSON.") from error
    if not isinstance(raw, dict):
        raise InputError("INPUT_VALIDATION_FAILED", f"{path} is no configuration.")
    return parse_config(raw)


def parse_config(raw: Mapping[str, Any]) -> ModelConfig:
    """Return the flat view of a parsed `config.json`.

    Raises:
        InputError: it names no architecture or describes quantized weights.
    """
    if raw.get("quantization_config"):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            "The base model is a quantized copy; its weights cannot be exported.",
            hint="Export with the original 16-bit base model; an adapter trained on the copy fits it.",
        )
    architectures = raw.get("architectures")
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise InputError("INPUT_VALIDATION_FAILED", "config.json names no architecture.")
    text_part = raw.get("text_config")
    values = {**raw, **text_part} if isinstance(text_part, dict) else dict(raw)
    return ModelConfig(architectures[0], values, _rope(values))


def _rope(values: Mapping[str, Any]) -> dict[str, Any]:
    stored = values.get("rope_parameters") or values.get("rope_scaling") or {}
    shared = stored.get("full_attention", stored) if isinstance(stored, dict) else {}
    rope = dict(shared) if isinstance(shared, dict) else {}
    for key in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if key not in rope and values.get(key) is not None:
            rope[key] = values[key]
    rope.setdefault("rope_type", rope.get("type") or "default")
    return rope


def _number(value: Any, key: str) -> float:
    """Return a positive real number of sane size; every real setting of a model is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _NUMBER_MAX:
        raise InputError("INPUT_VALIDATION_FAILED", f"config.json gives {key} as {value!r}.")
    return value


def _listed(value: Any, key: str) -> list[Any] | None:
    if value is not None and not isinstance(value, list):
        raise InputError("INPUT_VALIDATION_FAILED", f"config.json gives {key} as {value!r}.")
    return value
