"""A GGUF file of a very small Llama, written by gguf's own writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, VOCAB = 32, 4, 2, 64, 8
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "Ġ", "ab", "1"]


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return rows in GGUF's rotary order: within a head, row k and row k + half become neighbours."""
    rows = []
    size = weight.shape[0] // heads
    for head in range(heads):
        block = weight[head * size : (head + 1) * size]
        for index in range(size // 2):
            rows += [block[index], block[index + size // 2]]
    return np.stack(rows)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Return the model's float32 weights under their Hugging Face names."""
    random = np.random.default_rng(seed)
    shapes = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "model.layers.0.input_layernorm.weight": (HIDDEN,),
        "model.layers.0.post_attention_layernorm.weight": (HIDDEN,),
        "model.layers.0.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
        "model.layers.0.self_attn.k_proj.weight": (HIDDEN // 2, HIDDEN),
        "model.layers.0.self_attn.v_proj.weight": (HIDDEN // 2, HIDDEN),
        "model.layers.0.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
        "model.layers.0.mlp.gate_proj.weight": (FEED_FORWARD, HIDDEN),
        "model.layers.0.mlp.up_proj.weight": (FEED_FORWARD, HIDDEN),
        "model.layers.0.mlp.down_proj.weight": (HIDDEN, FEED_FORWARD),
    }
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_small_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    vocabulary: str = "gpt2",
    words: str = "smollm",
    token_kinds: list[int] | None = None,
    extra: dict[str, np.ndarray] | None = None,
    adds_bos: bool = False,
    name: str = "",
) -> Path:
    """Write the file to `path` and return it; the keywords damage or vary it.

    Args:
        path: the file to make.
        architecture: value of general.architecture.
        vocabulary: value of tokenizer.ggml.model.
        words: value of tokenizer.ggml.pre.
        token_kinds: of each token; three control tokens and five normal ones when not given.
        extra: further tensors.
        adds_bos: value of tokenizer.ggml.add_bos_token.
        name: value of general.name; one with "phi-3" in it makes the engine abort on this vocabulary.
    """
    from gguf import GGUFWriter

    writer = GGUFWriter(path, architecture)
    writer.add_license("apache-2.0")
    if name:
        writer.add_name(name)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(vocabulary)
    writer.add_tokenizer_pre(words)
    writer.add_token_list(TOKENS)
    writer.add_token_types(token_kinds or [3, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(adds_bos)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, values in weights().items():
        heads = HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else 0
        writer.add_tensor(_gguf_name(name), interleaved(values, heads) if heads else values)
    for name, values in (extra or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    short = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    stem = name.removesuffix(".weight")
    inner = stem.removeprefix("model.layers.0.")
    return f"blk.0.{short[inner]}.weight" if inner != stem else f"{short[stem]}.weight"
