"""What an export costs in time and memory. `python -m benchmarks.gguf [FOLDER OF SMOLLM2-135M]`

Each export runs in a fresh process; its peak memory is that of the whole interpreter. "Kernel" is ggml's
packing alone, the limit of any exporter; its share is taken in core-seconds, which other work on the
machine does not change.
"""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Figure, machine, show
from tests.support.checkpoints import lora_arrays, write_adapter, write_checkpoint

HIDDEN, INTERMEDIATE, VOCABULARY = 3584, 18_944, 152_064
RANK = 16


def measure(model: Path) -> list[Figure]:
    """Return the cost of exporting a real small model, plain and with an adapter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adapter = folder / "adapter"
        write_random_adapter(model, adapter)
        job = {"model": str(model), "out": str(folder / "m.gguf")}
        plain = {key: in_new_process(job | {"quantization": key}) for key in ("f16", "q8_0", "q4_k_m")}
        merged = in_new_process(job | {"quantization": "q4_k_m", "adapter": str(adapter)})
        beside = in_new_process(job | {"quantization": "adapter", "adapter": str(adapter)})
    figures = [Figure(f"135M to {key}", found["seconds"], "s") for key, found in plain.items()]
    return [
        *figures,
        Figure(f"135M, merge of rank {RANK} + q4_k_m", merged["seconds"], "s", 7),
        Figure("  its core-seconds", merged["core_seconds"], "core-s"),
        Figure(
            "  its core-seconds by those without the merge",
            merged["core_seconds"] / plain["q4_k_m"]["core_seconds"],
            "x",
        ),
        Figure("  its peak memory", merged["peak_mb"], "MB", 400),
        Figure(f"adapter of rank {RANK} as GGUF", beside["seconds"], "s", 1),
    ]


def measure_wide() -> list[Figure]:
    """Return the cost of one layer and both vocabulary matrices of a 7B model."""
    figures = []
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "wide"
        write_wide_model(model)
        for key in ("q4_k_m", "q8_0"):
            job = {"model": str(model), "out": str(Path(name) / "w.gguf"), "quantization": key}
            found = in_new_process(job | {"kernel": True})
            share = 100 * found["kernel_core_seconds"] / found["core_seconds"]
            figures += [
                Figure(f"7B-shaped layer and vocabulary to {key}", found["seconds"], "s"),
                Figure("  its core-seconds", found["core_seconds"], "core-s"),
                Figure("  of which kernel", share, "%", 85 if key == "q4_k_m" else None, is_at_least=True),
                Figure("  cores kept busy", found["core_seconds"] / found["seconds"], "cores"),
                Figure("  its peak memory", found["peak_mb"], "MB", 2000),
            ]
    return figures


def main() -> None:
    """Measure and print, or run one job for a parent that measures."""
    if sys.argv[1:2] == ["--job"]:
        print(json.dumps(run_job(json.loads(sys.argv[2]))))
        return
    print(machine())
    if len(sys.argv) > 1:
        show("GGUF export of SmolLM2-135M", measure(Path(sys.argv[1])))
    show("GGUF export in the shape of a 7B model", measure_wide())


def in_new_process(job: dict[str, Any]) -> dict[str, float]:
    """Run a job in a fresh interpreter and return its figures."""
    command = [sys.executable, "-m", "benchmarks.gguf", "--job", json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run_job(job: dict[str, Any]) -> dict[str, float]:
    """Export once and return seconds, core-seconds and peak memory."""
    from backprop_core.gguf import export_adapter_gguf, export_gguf

    model, out = Path(job["model"]), Path(job["out"])
    adapter = Path(job["adapter"]) if "adapter" in job else None
    began, began_core = time.perf_counter(), time.process_time()
    if job["quantization"] == "adapter" and adapter is not None:
        export_adapter_gguf(adapter, model, out)
    else:
        export_gguf(model, out, job["quantization"], adapter_dir=adapter)
    return {
        "seconds": time.perf_counter() - began,
        "core_seconds": time.process_time() - began_core,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "kernel_core_seconds": kernel_core_seconds(model, job["quantization"]) if "kernel" in job else 0.0,
    }


def kernel_core_seconds(model: Path, quantization: str) -> float:
    """Return the core-seconds that ggml alone needs for the matrices of a plan, tried on a part of each."""
    from backprop_core.gguf import plan_gguf
    from backprop_core.gguf.quantize import load_packer

    packer = load_packer()
    random = np.random.default_rng(0)
    total = 0.0
    for tensor in plan_gguf(model, quantization).tensors:
        rows, *columns = tensor.entry.shape
        if columns:
            sample = random.standard_normal((max(1, (1 << 21) // columns[0]), columns[0]), np.float32) / 50
            began = time.process_time()
            packer(sample, tensor.entry.kind)
            total += (time.process_time() - began) * rows / len(sample)
    return total


def write_random_adapter(model: Path, folder: Path) -> None:
    """Write an adapter of all linear layers of a Llama, with random values."""
    from backprop_core.gguf.source import open_model

    source = open_model(model)
    arrays: dict[str, np.ndarray] = {}
    for name in source.names():
        if name.endswith("_proj.weight"):
            rows, columns = source.shape(name)
            pair = lora_arrays(name.removesuffix(".weight"), rows, columns, RANK)
            arrays |= {key: values * np.float32(0.01) for key, values in pair.items()}
    write_adapter(folder, arrays, r=RANK, lora_alpha=2 * RANK)


def write_wide_model(folder: Path) -> None:
    """Write one layer of a 7B Qwen2.5 with its embedding and output matrix, streamed to disk."""
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": 1,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": False,
    }
    write_checkpoint(folder, config=config)
    shapes = dict(wide_shapes())
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    random = np.random.default_rng(0)
    block = (random.standard_normal((1 << 20,), np.float32) * 0.02).view(np.uint32) >> 16
    raw = block.astype(np.uint16).tobytes()
    head = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(head)) + head)
        while offset > 0:
            stream.write(raw[:offset])
            offset -= len(raw)


def wide_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes of the wide model's tensors."""
    layer = "model.layers.0"
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{layer}.{norm}.weight", (HIDDEN,)
    for name, rows in (("q", HIDDEN), ("k", 512), ("v", 512)):
        yield f"{layer}.self_attn.{name}_proj.weight", (rows, HIDDEN)
        yield f"{layer}.self_attn.{name}_proj.bias", (rows,)
    yield f"{layer}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)
    yield f"{layer}.mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
    yield f"{layer}.mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
    yield f"{layer}.mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)


if __name__ == "__main__":
    main()
