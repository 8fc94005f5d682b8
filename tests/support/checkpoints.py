"""Small checkpoints and adapters written with numpy alone, for tests that must not import torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backprop_core.gguf.floats import to_bfloat16

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, VOCABULARY = 64, 96, 2, 4, 2, 300

LLAMA_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], dtype: str = "BF16") -> None:
    """Write float32 arrays to a safetensors file as BF16, F16 or F32."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs = []
    offset = 0
    for name, array in arrays.items():
        values = np.ascontiguousarray(array, np.float32)
        if dtype == "BF16":
            raw = to_bfloat16(values).tobytes()
        else:
            raw = values.astype({"F16": np.float16, "F32": np.float32}[dtype]).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        blobs.append(raw)
        offset += len(raw)
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def llama_arrays(seed: int = 0, layers: int = LAYERS) -> dict[str, np.ndarray]:
    """Return random weights of a tiny tied Llama."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.standard_normal((rows, columns)).astype(np.float32)

    kv = HIDDEN // HEADS * KV_HEADS
    arrays = {"model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN), "model.norm.weight": np.ones(HIDDEN)}
    for layer in range(layers):
        shapes = {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (kv, HIDDEN),
            "self_attn.v_proj": (kv, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        }
        for name, shape in shapes.items():
            arrays[f"model.layers.{layer}.{name}.weight"] = matrix(*shape)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            arrays[f"model.layers.{layer}.{norm}.weight"] = np.ones(HIDDEN)
    return arrays


def byte_tokenizer(**changes: Any) -> dict[str, Any]:
    """Return a byte-level `tokenizer.json`: two control tokens, the 256 byte letters, two merges."""
    letters = [chr(code) for code in _byte_letters()]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "ab", "abc"]
    return {
        "added_tokens": [
            {"id": number, "content": tokens[number], "special": True, "normalized": False}
            for number in range(3)
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            ],
        },
        "post_processor": None,
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [["a", "b"], ["ab", "c"]],
        },
        **changes,
    }


def write_checkpoint(
    folder: Path,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    config: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    dtype: str = "BF16",
) -> Path:
    """Write a model folder, a tiny Llama unless told otherwise, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or LLAMA_CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer or byte_tokenizer()))
    roles = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    write_safetensors(folder / "model.safetensors", arrays or llama_arrays(), dtype)
    return folder


def write_adapter(folder: Path, arrays: Mapping[str, np.ndarray], **config: Any) -> Path:
    """Write a PEFT LoRA adapter folder with stored names as PEFT writes them, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "tiny/llama", **config}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    write_safetensors(folder / "adapter_model.safetensors", arrays, "F32")
    return folder


def lora_arrays(module: str, rows: int, columns: int, rank: int = 4, seed: int = 1) -> dict[str, np.ndarray]:
    """Return random factors of one adapted matrix under the names that PEFT stores."""
    random = np.random.default_rng(seed)
    return {
        f"base_model.model.{module}.lora_A.weight": random.standard_normal((rank, columns)).astype(
            np.float32
        ),
        f"base_model.model.{module}.lora_B.weight": random.standard_normal((rows, rank)).astype(np.float32),
    }


def _byte_letters() -> list[int]:
    """Return the letters that byte-level BPE writes the 256 bytes with."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return printable + [256 + number for number in range(256 - len(printable))]
