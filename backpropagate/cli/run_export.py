"""Runs as text for other tools: JSON lines or CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import orjson

from backprop_core.config.exports import ExportSpec
from backprop_core.config.specs import TrainSpec
from backprop_core.services.runs import RunDetail

SCHEMA_VERSION: Final = 1

_STATE: Final = (
    "run_id",
    "kind",
    "name",
    "status",
    "source",
    "created_at",
    "started_at",
    "ended_at",
    "seconds",
    "device",
    "step",
    "total_steps",
    "first_loss",
    "loss",
    "eval_loss",
    "tokens",
    "supervised_tokens",
    "artifact",
    "folder",
)
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def as_jsonl(details: Sequence[RunDetail]) -> str:
    """Return one JSON object per run."""
    lines = [orjson.dumps({"schema_version": SCHEMA_VERSION, **_flat(detail)}).decode() for detail in details]
    return "".join(f"{line}\n" for line in lines)


def as_csv(details: Sequence[RunDetail]) -> str:
    """Return a table with one row per run; cells that a spreadsheet would run are quoted with '.

    Training runs and exports stand in one table; a setting that a kind does not have is empty.
    """
    stream = io.StringIO()
    settings = dict.fromkeys([*TrainSpec.model_fields, *ExportSpec.model_fields])
    columns = [*_STATE, "failure_code", *(f"spec.{name}" for name in settings)]
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for detail in details:
        writer.writerow({name: _cell(value) for name, value in _flat(detail).items()})
    return stream.getvalue()


def _flat(detail: RunDetail) -> dict[str, Any]:
    state = detail.state
    flat: dict[str, Any] = {name: getattr(state, name) for name in _STATE}
    flat["failure_code"] = state.error["code"] if state.error else None
    return flat | {f"spec.{name}": value for name, value in detail.spec.model_dump().items()}


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value
