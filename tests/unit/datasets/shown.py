"""Writes an encoded row as text in which `⟦` and `⟧` enclose what carries loss."""

from __future__ import annotations

from backprop_core.datasets.mask import Encoded
from backprop_core.datasets.tokenizer import ChatTokenizer


def shown(encoded: Encoded, tokenizer: ChatTokenizer) -> str:
    """Return the text of a row with its loss marked."""
    pieces: list[str] = []
    start = 0
    mask = encoded.labels_mask
    for end in range(1, len(mask) + 1):
        if end == len(mask) or mask[end] != mask[start]:
            text = tokenizer.decode(encoded.input_ids[start:end])
            pieces.append(f"⟦{text}⟧" if mask[start] else text)
            start = end
    return "".join(pieces)
