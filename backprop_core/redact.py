"""Secrets removed from any text before it reaches a file, a journal, a page or a terminal.

One function, used by the log handlers, the journal writer and the error screens.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

_MASK: Final = "[redacted]"

_WHOLE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bhf_[A-Za-z0-9]{8,}"
    r"|\bsk-[A-Za-z0-9_-]{8,}"
    r"|\bbp_[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    re.DOTALL,
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}")
_PAIR: Final = re.compile(
    r"(?i)\b([\w-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\"']?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&\"'}\])]+)"
)
_URL_CREDENTIAL: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+@")
# Counts of training tokens look like pairs but are no secrets.
_PLAIN_NUMBER: Final = re.compile(r"[\d.,_]+\Z|None\Z|null\Z|true\Z|false\Z", re.IGNORECASE)


def _mask_pair(match: re.Match[str]) -> str:
    if _PLAIN_NUMBER.match(match[2]) and "token" in match[1].lower():
        return match[0]
    return match[1] + _MASK


def redact(text: str) -> str:
    """Return `text` with bearer values, hub and API tokens, key pairs, JWTs and PEM blocks masked."""
    text = _WHOLE.sub(_MASK, text)
    text = _BEARER.sub(rf"\1\2{_MASK}", text)
    text = _URL_CREDENTIAL.sub(rf"\1{_MASK}@", text)
    return _PAIR.sub(_mask_pair, text)


def redact_value(value: Any) -> Any:
    """Return JSON-like `value` with every string in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]
    return value


class RedactingFormatter(logging.Formatter):
    """A log formatter whose whole output, tracebacks included, is redacted."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the redacted line."""
        return redact(super().format(record))
