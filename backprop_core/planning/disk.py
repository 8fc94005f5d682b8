"""Bytes that a run adds to the disk, and the reserve that it leaves."""

from __future__ import annotations

from typing import Final

from backprop_core.config.resolve import FieldProblem
from backprop_core.units import GIB, file_size

# Newest three and the best.
CHECKPOINTS_KEPT: Final = 4
# Tokenizer, configs, manifest, journal.
_SMALL_FILES_BYTES: Final = 20_000_000
# A checkpoint is staged beside the kept ones before one of them goes.
_STAGED: Final = 1


def run_disk_bytes(
    trainable_parameters: int, *, weight_bytes: int, has_8bit_optimizer: bool, checkpoints: int
) -> int:
    """Return what a run writes at most at one time, its published result included.

    Args:
        trainable_parameters: saved in each checkpoint, with two optimizer states per weight.
        weight_bytes: of one such weight, and of each of its states in full precision.
        has_8bit_optimizer: whether a state takes one byte.
        checkpoints: how many the run will write; no more than four are kept.
    """
    result = trainable_parameters * weight_bytes
    states = trainable_parameters * 2 * (1 if has_8bit_optimizer else weight_bytes)
    held = min(checkpoints, CHECKPOINTS_KEPT + _STAGED)
    return held * (result + states + _SMALL_FILES_BYTES) + 2 * result + _SMALL_FILES_BYTES


def reserve_bytes(disk_total_bytes: int | None) -> int:
    """Return what stays free on the disk: 2 GiB, or 5 % of a larger one."""
    return max(2 * GIB, (disk_total_bytes or 0) // 20)


def disk_problems(needed: int, free: int | None, total: int | None) -> list[FieldProblem]:
    """Return why the disk cannot take the run; empty when it can or nothing is known about it."""
    if free is None or free - needed >= reserve_bytes(total):
        return []
    reserve = reserve_bytes(total)
    short = needed + reserve - free
    return [
        FieldProblem(
            "output_dir",
            "RUNTIME_DISK_FULL",
            f"The run writes up to {file_size(needed)}; {file_size(free)} are free "
            f"and {file_size(reserve)} stay in reserve.",
            f"Free {file_size(short)} there, or choose a folder on another disk.",
        )
    ]
