"""A run as the line that starts it: the command, and the three lines of Python.

Pure text; only what differs from the defaults is written out.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, Final

from backprop_core.config.schema import SchemaField, train_field, train_fields
from backprop_core.config.specs import PRESETS

# Arguments of `Trainer.train`; every other field is a keyword of `Trainer`.
_TRAIN_ARGUMENTS: Final = ("steps", "epochs", "samples")


def changed_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from the defaults and from what the chosen preset sets, in schema order.

    Args:
        values: fields of a run by name; fields that are missing count as default.
    """
    preset = PRESETS.get(str(values.get("lora_preset", train_field("lora_preset").default)), {})
    expected = {field.name: field.default for field in train_fields()} | preset
    if values.get("epochs") is not None:
        # With epochs alone the run is as long as they take.
        expected["steps"] = None
    return {
        field.name: values[field.name]
        for field in train_fields()
        if field.name in values and values[field.name] != expected[field.name]
    }


def cli_twin(values: Mapping[str, Any], *, command: str = "backprop train", is_windows: bool = False) -> str:
    """Return the command line that starts a run with `values`.

    Args:
        values: fields of a run by name.
        command: what stands before the flags.
        is_windows: whether to quote for cmd.exe instead of a POSIX shell.
    """
    words: list[str] = []
    for name, value in changed_values(values).items():
        words += _flag(train_field(name), value)
    quoted = subprocess.list2cmdline(words) if is_windows else shlex.join(words)
    return f"{command} {quoted}".strip()


def python_twin(values: Mapping[str, Any]) -> str:
    """Return the lines of Python that start a run with `values`."""
    changed = changed_values(values)
    model, dataset = changed.pop("model", None), changed.pop("dataset", "")
    length: dict[str, Any] = {name: changed.pop(name) for name in _TRAIN_ARGUMENTS if name in changed}
    trainer = ", ".join([*([repr(model)] if model is not None else []), *_keywords(changed)])
    train = ", ".join([repr(dataset), *_keywords(length)])
    return f"from backpropagate import Trainer\n\nTrainer({trainer}).train({train})"


def _flag(field: SchemaField, value: Any) -> list[str]:
    flag = field.short or field.flag
    if field.kind == "bool":
        yes, _, no = field.flag.partition("/")
        return [yes] if value else [no or f"--no-{yes.removeprefix('--')}"]
    text = f"{value:.12g}" if isinstance(value, float) else "none" if value is None else str(value)
    # A value that begins with a dash would be read as a flag.
    return [f"{field.flag}={text}"] if text.startswith("-") else [flag, text]


def _keywords(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield f"{name}={value!r}"
