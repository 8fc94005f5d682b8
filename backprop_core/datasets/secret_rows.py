"""Rows that hold what looks like a key or password; the model would learn to say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from backprop_core import redact
from backprop_core.datasets.rows import Conversation
from backprop_core.datasets.texts import whole_text

_KEPT: Final = 50
# Every pattern of the redactor needs one of these, and looking for them is fifty times quicker.
_SIGNS: Final = (
    "-----begin",
    "hf_",
    "sk-",
    "bp_",
    "akia",
    "asia",
    "eyj",
    "bearer",
    "basic",
    "://",
    "passw",
    "secret",
    "token",
    "api",
    "access",
)


@dataclass(frozen=True, slots=True)
class SecretFindings:
    """How many rows hold secrets, and the numbers of the first; never the secrets."""

    rows: int
    first: tuple[int, ...]


class SecretFinder:
    """Watches the rows of a file go by."""

    def __init__(self) -> None:
        self._rows = 0
        self._first: list[int] = []

    def add(self, conversation: Conversation) -> None:
        """Take the next row."""
        text = whole_text(conversation)
        lowered = text.lower()
        if any(sign in lowered for sign in _SIGNS) and redact.redact(text) != text:
            self._rows += 1
            if len(self._first) < _KEPT:
                self._first.append(conversation.row)

    def findings(self) -> SecretFindings:
        """Return what was found."""
        return SecretFindings(self._rows, tuple(self._first))
