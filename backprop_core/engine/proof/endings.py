"""Whether a reply of the file ends by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backprop_core.config.proofs import CheckStatus, ProofCheck
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.proof.engine_process import Engine
from backprop_core.engine.proof.vocabulary import Vocabulary

_REPLY_TOKENS: Final = 64
_LIMIT: Final = "the trained stop token ends a reply; half of the replies end within 64 tokens"


def check_endings(
    engine: Engine, tokenizer: ChatTokenizer, vocabulary: Vocabulary, prompts: Sequence[str]
) -> ProofCheck:
    """Force the trained end of a turn and see that the engine stops; then let it answer freely.

    Free replies of small files at a small limit are noisy, so they make the card amber at most.

    Raises:
        EngineFailed: the engine died or gave no answer.
    """
    cause = vocabulary.end_cause
    end = tokenizer.end_of_turn_id if tokenizer.end_of_turn_id is not None else tokenizer.eos_id
    if not cause and end is not None and not _stops_at(engine, tokenizer, prompts[0], end):
        cause = f"The engine goes on after the trained stop token {end} ({tokenizer.token_text(end)!r})."
    ended = sum(_ends(engine, tokenizer, prompt) for prompt in prompts)
    status: CheckStatus = "fail" if cause else "pass"
    if not cause and 2 * ended < len(prompts):
        status, cause = "note", f"Only {ended} of {len(prompts)} replies ended within {_REPLY_TOKENS} tokens."
    return ProofCheck(
        name="end_of_turn",
        status=status,
        measured=f"{ended} of {len(prompts)} replies ended by themselves",
        limit=_LIMIT,
        cause=cause,
    )


def _stops_at(engine: Engine, tokenizer: ChatTokenizer, prompt: str, end: int) -> bool:
    body = {
        "prompt": tokenizer.encode_text(prompt),
        "n_predict": 3,
        "logit_bias": [[end, 1e4]],
        "temperature": 0,
    }
    return bool(engine.ask("/completion", body)["stop_type"] == "eos")


def _ends(engine: Engine, tokenizer: ChatTokenizer, prompt: str) -> bool:
    body = {"prompt": tokenizer.encode_text(prompt), "n_predict": _REPLY_TOKENS, "temperature": 0}
    return bool(engine.ask("/completion", body)["stop_type"] == "eos")
