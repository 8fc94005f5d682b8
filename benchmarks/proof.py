"""What the proof of an exported file costs. `python -m benchmarks.proof [FOLDER OF SMOLLM2-135M]`

Each proof runs in a fresh process as `backprop proof` starts it, its engine in another one; the time is from
the start of the first to its end, on one thread each.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from backprop_core import files
from backprop_core.config.exports import report_path
from backprop_core.config.proofs import read_proof
from backprop_core.gguf import export_gguf
from benchmarks.report import Figure, machine, show
from tests.support.models import tutorial_model_dir

LIMITS_S = {"f16": 90, "q8_0": 90, "q4_k_m": 60}


def measure(model: Path) -> list[Figure]:
    """Return the seconds of the proof of each type."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for quantization, limit_s in LIMITS_S.items():
            path = Path(folder) / f"{quantization}.gguf"
            write_export(model, path, quantization)
            seconds = prove_in_new_process(model, path)
            proof = read_proof(path)
            verdict = "broke off" if proof is None else proof.verdict
            figures.append(Figure(f"135M {quantization}: {verdict}", seconds, "s", limit_s))
    return figures


def write_export(model: Path, path: Path, quantization: str) -> None:
    """Write an export and the part of its report that a proof reads."""
    report = export_gguf(model, path, quantization)
    values = {
        "format": "gguf",
        "quantization": quantization,
        "run_id": None,
        "files": [{"name": path.name, "sha256": report.sha256}],
        "tensors": [dataclasses.asdict(tensor) for tensor in report.tensors],
    }
    files.write_json(report_path(path), values)


def prove_in_new_process(model: Path, path: Path) -> float:
    """Return the seconds of one proof."""
    order = orjson.dumps({"path": str(path), "model": str(model), "adapter": ""}) + b"\n"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "backprop_core.engine.proof"],
        input=order,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    print(machine())
    show("Proof", measure(Path(sys.argv[1]) if len(sys.argv) > 1 else tutorial_model_dir()))
