"""Attention that keeps the documents of one long row apart.

Registered with transformers under `NAME`; a model that runs with it must be given
`document_lengths`. Each document is one causal attention of its own: no mask over the whole row is
built, and work grows with the documents' lengths squared, not with the row's.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME: Final = "documents"
# Rounding of bf16 over many layers stays below it; a document that sees another one is far above.
_SAME: Final = 0.05


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    document_lengths: tuple[int, ...] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return the attention output `(1, tokens, heads, head_dim)`.

    Args:
        query: `(1, heads, tokens, head_dim)`.
        key: `(1, kv_heads, tokens, head_dim)`; `value` likewise.
        attention_mask: not used; documents are told apart by their lengths.
        dropout: share of attention weights dropped.
        scaling: factor of the scores; one over the root of `head_dim` when None.
        sliding_window: tokens that a token sees, itself included.
        document_lengths: tokens of each document; their sum is `tokens`.
    """
    lengths = document_lengths or (query.shape[2],)
    is_grouped = query.shape[1] != key.shape[1]
    pieces = []
    for q, k, v in zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True):
        window = _window(q.shape[2], sliding_window, q.device)
        pieces.append(
            scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=window,
                dropout_p=dropout,
                is_causal=window is None,
                scale=scaling,
                enable_gqa=is_grouped,
            )
        )
    return torch.cat(pieces, 2).transpose(1, 2), None


def _window(length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor | None:
    """Return the `(length, length)` mask of a sliding window; None when the document lies within it."""
    if sliding_window is None or length <= sliding_window:
        return None
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return seen.triu(1 - sliding_window)


AttentionInterface.register(NAME, attend)


def use_documents(model: Any) -> bool:
    """Switch `model` to this attention when it keeps documents apart; return whether it does.

    Judged by what the model computes, not by its name: two documents in one row must give the second
    one the states that it has alone.
    """
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
        is_apart = _keeps_apart(model)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        is_apart = False
    if not is_apart:
        model.set_attn_implementation(before)
    return is_apart


def _keeps_apart(model: Any) -> bool:
    decoder = model.get_decoder()
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.cat([torch.arange(1, 25), torch.arange(3, 11)])[None] % vocabulary
    positions = torch.cat([torch.arange(24), torch.arange(8)])[None]
    was_training = decoder.training
    decoder.eval()
    try:
        together = _states(decoder, ids, positions, (24, 8))[24:]
        alone = _states(decoder, ids[:, 24:], positions[:, 24:], (8,))
    finally:
        decoder.train(was_training)
    return bool((together - alone).norm() <= _SAME * alone.norm())


def _states(
    decoder: Any, ids: torch.Tensor, positions: torch.Tensor, lengths: tuple[int, ...]
) -> torch.Tensor:
    """Return the last hidden states `(tokens, width)` in fp32."""
    device = next(decoder.parameters()).device
    with torch.no_grad():
        states = decoder(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            use_cache=False,
            document_lengths=lengths,
        )
    return states.last_hidden_state[0].float()
