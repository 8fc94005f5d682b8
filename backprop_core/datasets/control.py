"""Keeps control tokens that stand inside the data from acting as control tokens.

Text such as `<|im_end|>` in what a user says would end the turn and forge the next one. A space
after its first character leaves it readable and harmless: `< |im_end|>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


class ControlTokens:
    """The strings that build turns for one tokenizer and template.

    Args:
        tokens: the strings; empty ones are ignored.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(sorted({token for token in tokens if len(token) > 1}))
        self._first = tuple({token[0] for token in self.tokens})
        self._pattern = re.compile(_trie_pattern(self.tokens)) if self.tokens else None

    def neutralize(self, text: str) -> tuple[str, int]:
        """Return `text` with every control token broken, and how many there were."""
        for first in self._first:
            if first in text and self._pattern is not None:
                return self._pattern.subn(_break, text)
        return text, 0

    def neutralize_value(self, value: Any) -> tuple[Any, int]:
        """Return a JSON value with the control tokens in all its strings broken, and their number."""
        if isinstance(value, str):
            return self.neutralize(value)
        if isinstance(value, Mapping):
            pairs = [(self.neutralize(str(key)), self.neutralize_value(item)) for key, item in value.items()]
            return {key: item for (key, _), (item, _) in pairs}, sum(n + m for (_, n), (_, m) in pairs)
        if isinstance(value, list | tuple):
            items = [self.neutralize_value(item) for item in value]
            return [item for item, _ in items], sum(n for _, n in items)
        return value, 0


def _break(match: re.Match[str]) -> str:
    token = match[0]
    return f"{token[0]} {token[1:]}"


def _trie_pattern(tokens: Iterable[str]) -> str:
    """Return one pattern for all tokens, sharing prefixes: hundreds of tokens cost as little as one."""
    trie: dict[str, Any] = {}
    for token in tokens:
        node = trie
        for character in token:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branch(trie)


def _branch(node: Mapping[str, Any]) -> str:
    choices = [re.escape(character) + _branch(inner) for character, inner in node.items() if character]
    if not choices:
        return ""
    body = choices[0] if len(choices) == 1 and "" not in node else f"(?:{'|'.join(choices)})"
    return f"{body}?" if "" in node else body
