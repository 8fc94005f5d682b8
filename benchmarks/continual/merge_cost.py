"""What merges and changes of the leg cost: `python -m benchmarks.continual.merge_cost`.

Writes two adapters with the layers of Qwen2.5-7B, merges them as a campaign does, and makes the start of the next
leg. Prints seconds and the memory above what stood before, each rank in a process of its own; then the seconds
between a leg's commit and the first step of the next one, with SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from backprop_core import files
from backprop_core.engine.leg_adapters import merge_into, read_adapter
from backprop_core.engine.slao import start_of_leg
from backprop_core.events.journal import JournalReader
from backprop_core.events.types import LegChosen, Metrics
from benchmarks.continual.__main__ import REDUCED, campaign
from benchmarks.report import machine
from benchmarks.train import tutorial_model

LAYERS = 28
# Inputs and outputs of the linear layers.
SHAPES = {
    "q_proj": (3584, 3584),
    "k_proj": (3584, 512),
    "v_proj": (3584, 512),
    "o_proj": (3584, 3584),
    "gate_proj": (3584, 18944),
    "up_proj": (3584, 18944),
    "down_proj": (18944, 3584),
}


def write_adapter(folder: Path, rank: int, seed: int) -> tuple[Path, str]:
    """Write a random adapter and return its folder with the hash of its weights."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for name, (inputs, outputs) in SHAPES.items():
            stem = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{stem}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator)
            tensors[f"{stem}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator)
    folder.mkdir()
    path = folder / "adapter_model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return folder, files.sha256_of(path)


def measure(rank: int) -> None:
    """Merge once and print what it cost."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        before, own = write_adapter(root / "before", rank, 1), write_adapter(root / "own", rank, 2)
        copy = (own[0] / "adapter_model.safetensors").stat().st_size
        peak = _peak()
        began = time.monotonic()
        digest = merge_into(root / "merged", "slao", before, own, 2)
        merged = time.monotonic()
        start_of_leg("slao", read_adapter(*own), read_adapter(root / "merged", digest))
        begun = time.monotonic()
        print(
            f"rank {rank}: merge {merged - began:.2f} s, start of the next leg {begun - merged:.2f} s, "
            f"adapter {copy / 2**20:.0f} MiB, peak above writing them {(_peak() - peak) / copy:.1f} copies",
            flush=True,
        )


def leg_change(model: Path) -> float:
    """Return the seconds from the commit of a leg to the beginning of the next leg's first step."""
    with tempfile.TemporaryDirectory() as place:
        size = dataclasses.replace(REDUCED, rows=12, steps=1)
        folder = campaign(
            Path(place), model, [["category"], ["mood"]], size, mode="slao", seed=1, device="cpu"
        )
        events = JournalReader(folder.journal_path).read_all()
        committed = next(event.mono for event in events if isinstance(event.body, LegChosen))
        step = next(e for e in events if isinstance(e.body, Metrics) and e.body.step == 2)
        return step.mono - step.body.step_s - committed


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure each rank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=(16, 256))
    parser.add_argument("--model", type=Path, help="model folder; the tutorial model by default")
    parser.add_argument("--here", type=int, help="measure this rank in this process")
    chosen = parser.parse_args()
    if chosen.here:
        measure(chosen.here)
        return
    print(machine())
    for rank in chosen.ranks:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.continual.merge_cost", "--here", str(rank)], check=True
        )
    logging.disable(logging.WARNING)
    print(f"change of the leg: {leg_change(chosen.model or tutorial_model()):.2f} s")


if __name__ == "__main__":
    main()
