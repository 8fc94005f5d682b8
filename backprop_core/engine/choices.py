"""The values that stand for "auto" in the spec, planned again from what the worker really found."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from backprop_core import files, platform
from backprop_core.config.specs import TrainSpec
from backprop_core.engine.devices import Device, cpu_has_bf16
from backprop_core.engine.loading import BaseModel
from backprop_core.engine.tokenizing import TrainingData
from backprop_core.errors import BackpropagateError, ErrorRecord, error_from_record
from backprop_core.planning.model_shape import ModelShape
from backprop_core.planning.plan import make_plan
from backprop_core.planning.records import Choices, DataFacts, GpuFacts, MachineFacts, ModelFacts, PlanFacts


def choose(spec: TrainSpec, base: BaseModel, data: TrainingData, device: Device, folder: Path) -> Choices:
    """Return the values of the run.

    Raises:
        BackpropagateError: this machine or this model cannot do what the spec asks for.
    """
    shape = ModelShape.from_config(files.read_json(base.resolved.path / "config.json"))
    plan = make_plan(
        spec,
        PlanFacts(
            machine=machine_facts(device),
            model=ModelFacts(base.resolved.id, shape, download_bytes=0),
            data=data_facts(data),
            disk_free_bytes=files.free_bytes(folder),
        ),
    )
    for problem in plan.problems:
        raise _error(problem.code, problem.message, problem.hint)
    return plan.choices


def machine_facts(device: Device) -> MachineFacts:
    """Return what the planner wants to know about this machine."""
    available, total = platform.system_memory()
    gpu = None
    if device.is_cuda:
        free, whole = torch.cuda.mem_get_info(device.torch)
        gpu = GpuFacts(device.name, free, whole, has_bf16=device.precision == "bf16")
    return MachineFacts(
        system=platform.SYSTEM,
        cpu_cores=os.cpu_count() or 1,
        ram_free_bytes=available,
        ram_total_bytes=total,
        cpu_has_bf16=cpu_has_bf16(),
        gpu=gpu,
    )


def data_facts(data: TrainingData) -> DataFacts:
    """Return what the planner wants to know about the rows."""
    lengths = sorted(row.length for row in data.rows)
    return DataFacts(
        rows=len(data.rows) + len(data.held_out) + data.unusable,
        usable_rows=len(data.rows),
        tokens=data.tokens,
        supervised_tokens=data.supervised_tokens,
        longest_tokens=data.longest_before_cut,
        p95_tokens=lengths[int(0.95 * (len(lengths) - 1))],
        truncated_rows=data.truncated,
    )


def _error(code: str, message: str, hint: str) -> BackpropagateError:
    return error_from_record(ErrorRecord(code=code, message=message, hint=hint, retryable=False, details={}))
