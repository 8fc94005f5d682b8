"""Which of llama.cpp's named pre-tokenizers splits text as a `tokenizer.json` does.

Decided from the structure of the pre-tokenizer, so an edited or extended vocabulary changes nothing.
A structure that no name stands for is an error: a wrong split gives other tokens without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backprop_core.errors import InputError


def pretokenizer_name(tokenizer: Mapping[str, Any]) -> str:
    """Return the value for `tokenizer.ggml.pre`.

    Args:
        tokenizer: the parsed `tokenizer.json` of a byte-level BPE model.

    Raises:
        InputError: engines have no pre-tokenizer of this structure.
    """
    steps = _steps(tokenizer.get("pre_tokenizer"))
    kinds = [step.get("type") for step in steps]
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and _splits_itself(steps[1]):
        return "smollm"
    if kinds == ["ByteLevel"] and _splits_itself(steps[0]):
        return "gpt-2"
    if kinds == ["Split", "ByteLevel"] and not _splits_itself(steps[1]):
        name = _name_of_expression(_expression(steps[0]))
        if name is not None:
            return name
    raise InputError(
        "INPUT_VALIDATION_FAILED",
        f"No GGUF engine splits text as this tokenizer does: {' + '.join(map(str, kinds)) or 'no pre-tokenizer'}.",
    )


def _steps(pre_tokenizer: Any) -> list[Mapping[str, Any]]:
    if not isinstance(pre_tokenizer, dict):
        return []
    if pre_tokenizer.get("type") == "Sequence":
        return [step for step in pre_tokenizer.get("pretokenizers", []) if isinstance(step, dict)]
    return [pre_tokenizer]


def _splits_itself(byte_level: Mapping[str, Any]) -> bool:
    return bool(byte_level.get("use_regex", True))


def _expression(split: Mapping[str, Any]) -> str:
    pattern = split.get("pattern")
    is_plain = split.get("behavior") == "Isolated" and not split.get("invert")
    return str(pattern.get("Regex", "")) if is_plain and isinstance(pattern, dict) else ""


def _name_of_expression(expression: str) -> str | None:
    """Return the name of a splitting expression by what tells the known ones apart.

    All of them keep trailing white space apart. Those of the GPT-4o line look at
    upper and lower case; the others differ in digits per token and in marks joined to letters.
    """
    if r"\s+(?!\S)" not in expression or r"\p{L}" not in expression:
        return None
    takes_three_digits = r"\p{N}{1,3}" in expression
    takes_one_digit = r"|\p{N}|" in expression
    if r"\p{Lu}" in expression:
        has_contractions = "'s|" in expression or "'[sS]" in expression
        if has_contractions and takes_three_digits:
            return "gpt-4o"
        return "tekken" if takes_one_digit and not has_contractions else None
    if r"\p{M}" in expression:
        return "qwen35" if takes_one_digit else None
    if takes_three_digits:
        return "llama-bpe"
    return "qwen2" if takes_one_digit else None
