"""The build plugin that lets one bundle work on any host and port.

Reflex bakes `http://localhost:PORT` into the bundle. This rewrites each of those literals to an
expression on `location`, and stops the build when Reflex lays the file out in another way.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import reflex as rx

_LITERAL: Final = re.compile(
    r"([\"'`])(https?|wss?)://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?([^\"'`]*)\1"
)


def same_origin(script: str) -> tuple[str, int]:
    """Return `script` with every localhost address taken from `location`, and how many there were."""

    def expression(match: re.Match[str]) -> str:
        scheme, path = match[2], match[3]
        base = "location.origin"
        if scheme in {"ws", "wss"}:
            base += '.replace(/^http/,"ws")'
        return f'({base}+"{path}")'

    return _LITERAL.subn(expression, script)


class SameOriginPlugin(rx.plugins.Plugin):
    """Rewrites the addresses of the finished static site before it is compressed."""

    def post_build(self, **context: Any) -> None:
        """Rewrite the environment chunk in `context["static_dir"]`.

        Raises:
            RuntimeError: the chunk is missing or holds no address, so Reflex has changed its layout.
        """
        static_dir: Path = context["static_dir"]
        chunks = sorted(static_dir.glob("assets/reflex-env-*.js"))
        rewritten = 0
        for chunk in chunks:
            script, count = same_origin(chunk.read_text())
            chunk.write_text(script)
            rewritten += count
        if rewritten == 0:
            raise RuntimeError(
                f"no address to rewrite in {len(chunks)} environment chunks below {static_dir}"
            )
