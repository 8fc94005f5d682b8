"""Tokens and prompts as the engine makes them from the file, against those of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from backprop_core.config.proofs import ProofCheck
from backprop_core.datasets.rows import Conversation, RowFault
from backprop_core.datasets.template import as_dict
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.proof import probes
from backprop_core.engine.proof.engine_process import Engine
from backprop_core.engine.proof.vocabulary import Vocabulary

_AROUND: Final = 12


def check_tokens(
    engine: Engine, tokenizer: ChatTokenizer, vocabulary: Vocabulary, texts: Sequence[str]
) -> ProofCheck:
    """Tokenize the probes and the texts of rows with both and compare the ids.

    Args:
        texts: rendered training rows.

    Raises:
        EngineFailed: the engine died or gave no answer.
    """
    cause = vocabulary.tokenizer_cause
    for text in [*probes.STRINGS, *texts]:
        body = {"content": text, "add_special": False, "parse_special": True}
        found = engine.ask("/tokenize", body)["tokens"]
        trained = tokenizer.encode_text(text)
        if found != trained and not cause:
            at = _first_difference(trained, found)
            cause = (
                f"{text[:40]!r} becomes other tokens: number {at + 1} is "
                f"{found[at : at + 1]} in the file and was {trained[at : at + 1]} in training."
            )
    return ProofCheck(
        name="tokenizer",
        status="fail" if cause else "pass",
        measured=f"{vocabulary.counted}, {len(probes.STRINGS)} probes, {len(texts)} rows",
        limit="all equal",
        cause=cause,
    )


def check_template(engine: Engine, tokenizer: ChatTokenizer, vocabulary: Vocabulary) -> ProofCheck:
    """Render three conversations with both and compare the prompts byte for byte.

    Raises:
        EngineFailed: the engine died or gave no answer.
    """
    cause, equal = vocabulary.template_cause, 0
    conversations = _conversations(tokenizer)
    for name, conversation in conversations:
        try:
            trained = tokenizer.render_prompt(conversation.messages, conversation.tools)
        except RowFault:
            # A turn that the template refuses never was in training either.
            continue
        found = _prompt(engine, tokenizer, vocabulary, conversation, trained)
        if found == trained:
            equal += 1
        elif not cause:
            at = _first_difference(trained, found)
            cause = (
                f"The prompt {name} differs at character {at}: "
                f"{found[at : at + _AROUND]!r} in place of {trained[at : at + _AROUND]!r}."
            )
    return ProofCheck(
        name="template",
        status="fail" if cause else "pass",
        measured=f"{equal} of {len(conversations)} prompts equal",
        limit="byte for byte",
        cause=cause,
    )


def _conversations(tokenizer: ChatTokenizer) -> list[tuple[str, Conversation]]:
    """Return three conversations that the family of the template can print."""
    source = tokenizer.setup.source
    system = probes.WITH_SYSTEM
    if not tokenizer.shape.takes_system:
        system = Conversation(system.messages[1:], system.row)
    chosen = [("with a system turn", system), ("of many turns", probes.MANY_TURNS)]
    if "tools" in source and "tool_call" in source:
        return [*chosen, ("with tools", probes.WITH_TOOLS)]
    if "reasoning_content" in source or "<think>" in source:
        return [*chosen, ("after thinking", probes.AFTER_THINKING)]
    return [*chosen, ("with blanks", probes.SPARSE)]


def _prompt(
    engine: Engine,
    tokenizer: ChatTokenizer,
    vocabulary: Vocabulary,
    conversation: Conversation,
    trained: str,
) -> str:
    """Return the engine's prompt; the begin token, which it adds as a token later, is put back."""
    body = {
        "messages": [as_dict(message) for message in conversation.messages],
        "chat_template_kwargs": tokenizer.options,
        "add_generation_prompt": True,
        **({"tools": list(conversation.tools)} if conversation.tools else {}),
    }
    found = str(engine.ask("/apply-template", body)["prompt"])
    begin = tokenizer.special_tokens.get("bos_token", "")
    if vocabulary.adds_begin and begin and trained.startswith(begin) and not found.startswith(begin):
        return begin + found
    return found


def _first_difference(trained: Sequence[object], found: Sequence[object]) -> int:
    pairs = enumerate(zip(trained, found, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(trained), len(found)))
