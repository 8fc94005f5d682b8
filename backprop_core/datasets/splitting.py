"""Cuts a conversation that is too long into several that each begin with a question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backprop_core.datasets.rows import Conversation, Message
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.datasets.turns import Rendered


def split_conversation(
    conversation: Conversation, tokenizer: ChatTokenizer, max_seq_length: int
) -> list[Conversation]:
    """Return the conversation in parts of at most `max_seq_length` tokens, each with the system turn.

    A single question with its answer that is longer stays whole, to be cut at its end. What no
    answer follows is left out.

    Args:
        conversation: a row of turns.
        tokenizer: tokenizer and template of the model.
        max_seq_length: tokens of a part.
    """
    messages = conversation.messages
    system = messages[:1] if messages[0].role == "system" else ()
    parts: list[Conversation] = []
    current: tuple[Message, ...] = ()
    for exchange in _exchanges(messages[len(system) :]):
        longer = replace(conversation, messages=(*system, *current, *exchange))
        if current and _length(longer, tokenizer) > max_seq_length:
            parts.append(replace(conversation, messages=(*system, *current)))
            current = ()
        current = (*current, *exchange)
    parts.append(replace(conversation, messages=(*system, *current)))
    return [part for part in parts if any(message.role == "assistant" for message in part.messages)]


def _exchanges(messages: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """Yield the turns in groups that begin with what the user says."""
    start = 0
    for index in range(1, len(messages)):
        if messages[index].role == "user" and messages[index - 1].role != "user":
            yield messages[start:index]
            start = index
    yield messages[start:]


def _length(conversation: Conversation, tokenizer: ChatTokenizer) -> int:
    [rendered] = tokenizer.render_many([conversation])
    # A part that the template refuses is reported when it is encoded.
    return len(tokenizer.encode_text(rendered.text)) if isinstance(rendered, Rendered) else 0
