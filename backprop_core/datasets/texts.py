"""The words of a conversation in one form, for comparing rows with each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from backprop_core.datasets.rows import Conversation

_WORD: Final = re.compile(r"\w+")
_SHINGLE_WORDS: Final = 3
_SHINGLE_CHARACTERS: Final = 5
# Chinese, Japanese and Thai have no spaces: what looks like one word is a sentence.
_LONG_WORD: Final = 20


def whole_text(conversation: Conversation) -> str:
    """Return everything that is said in a row."""
    if conversation.text is not None:
        return conversation.text
    return "\n".join(_said(conversation))


def question_text(conversation: Conversation) -> str:
    """Return what is said before the first answer; the whole of raw text."""
    if conversation.text is not None:
        return conversation.text
    before = []
    for message in conversation.messages:
        if message.role == "assistant":
            break
        if message.role == "user":
            before.append(message.content)
    return "\n".join(before)


def answer_text(conversation: Conversation) -> str:
    """Return all answers of a row."""
    return "\n".join(message.content for message in conversation.messages if message.role == "assistant")


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return _WORD.findall(text.lower())


def digest(words: Sequence[str]) -> bytes:
    """Return 16 bytes that are equal for texts of the same words."""
    return hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest()


def shingles(words: Sequence[str]) -> list[str]:
    """Return the overlapping pieces by which near-equal texts are recognised."""
    if len(words) < _SHINGLE_WORDS:
        joined = " ".join(words)
        return list(words) if len(joined) < _LONG_WORD * len(words) else _pieces(joined)
    if sum(map(len, words)) > _LONG_WORD * len(words):
        return _pieces(" ".join(words))
    return list(map(" ".join, zip(words, words[1:], words[2:], strict=False)))


def _pieces(text: str) -> list[str]:
    last = max(1, len(text) - _SHINGLE_CHARACTERS + 1)
    return [text[start : start + _SHINGLE_CHARACTERS] for start in range(last)]


def _said(conversation: Conversation) -> list[str]:
    said = []
    for message in conversation.messages:
        said.append(message.content)
        said.extend(f"{call.name} {dict(call.arguments)}" for call in message.tool_calls)
    return said
