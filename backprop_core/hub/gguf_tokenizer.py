"""The tokenizer of a GGUF file as Hugging Face files.

A GGUF file holds vocabulary, merges and a name for the rule that cuts text into words. This file
knows those rules by name and writes tokenizer.json, tokenizer_config.json and chat_template.jinja.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from backprop_core import files

_NORMAL: Final = 1
_CONTROL: Final = 3

_LLAMA3_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


_SMOLLM: Final = [{"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)]
_LLAMA3: Final = [
    {"type": "Split", "pattern": {"Regex": _LLAMA3_WORDS}, "behavior": "Isolated", "invert": False},
    _byte_level(use_regex=False),
]
_PRE_TOKENIZERS: Final = {"smollm": _SMOLLM, "llama-bpe": _LLAMA3, "llama3": _LLAMA3}


def require_supported(metadata: dict[str, Any], refuse: Callable[[str], Exception]) -> None:
    """Raise what `refuse` makes of the reason when the vocabulary cannot be rebuilt exactly."""
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise refuse(f"its vocabulary is of type {kind!r}, not byte-level BPE.")
    words = metadata.get("tokenizer.ggml.pre")
    if words not in _PRE_TOKENIZERS:
        raise refuse(f"its text-splitting rule is {words!r}; known are {', '.join(sorted(_PRE_TOKENIZERS))}.")
    tokens, merges = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.merges")
    kinds = metadata.get("tokenizer.ggml.token_type")
    if not (isinstance(tokens, list) and isinstance(merges, list) and isinstance(kinds, list)):
        raise refuse("its vocabulary is incomplete.")
    if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
        raise refuse("its vocabulary contradicts itself.")
    for name in ("bos", "eos", "unknown", "padding"):
        if not 0 <= metadata.get(f"tokenizer.ggml.{name}_token_id", 0) < len(tokens):
            raise refuse(f"its {name} token is outside the vocabulary.")


def write_tokenizer(metadata: dict[str, Any], folder: Path, *, max_length: int) -> None:
    """Write the tokenizer files of checked GGUF `metadata` to `folder`.

    Args:
        metadata: passed `require_supported`.
        folder: an existing folder.
        max_length: the context of the model in tokens.
    """
    added = _added_tokens(metadata)
    files.write_json(folder / "tokenizer.json", _tokenizer(metadata, added))
    config = _tokenizer_config(metadata, added, max_length)
    files.write_json(folder / "tokenizer_config.json", config)
    if "chat_template" in config:
        files.write_text(folder / "chat_template.jinja", config["chat_template"])


def _added_tokens(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = metadata["tokenizer.ggml.token_type"]
    return [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kinds[index] == _CONTROL,
        }
        for index, token in enumerate(metadata["tokenizer.ggml.tokens"])
        if kinds[index] != _NORMAL
    ]


def _tokenizer(metadata: dict[str, Any], added: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": _PRE_TOKENIZERS[metadata["tokenizer.ggml.pre"]],
        },
        "post_processor": _post_processor(metadata),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": metadata["tokenizer.ggml.pre"] != "smollm",
            "vocab": {token: index for index, token in enumerate(metadata["tokenizer.ggml.tokens"])},
            "merges": [merge.split(" ", 1) for merge in metadata["tokenizer.ggml.merges"]],
        },
    }


def _post_processor(metadata: dict[str, Any]) -> dict[str, Any] | None:
    """Return the step that puts the begin token in front, when the file asks for one."""
    if not metadata.get("tokenizer.ggml.add_bos_token", False):
        return None
    index = metadata["tokenizer.ggml.bos_token_id"]
    token = metadata["tokenizer.ggml.tokens"][index]
    begin, first = {"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = [{"SpecialToken": {"id": token, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, *second],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }


def _tokenizer_config(
    metadata: dict[str, Any], added: list[dict[str, Any]], max_length: int
) -> dict[str, Any]:
    tokens = metadata["tokenizer.ggml.tokens"]
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added
        },
    }
    roles = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    for role, name in roles.items():
        index = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if index is not None:
            config[role] = tokens[index]
    template = metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        config["chat_template"] = template
    return config
