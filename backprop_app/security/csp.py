"""The security headers of every answer, with a content policy that names each inline script by its hash."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

_FIXED: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    # With `no-referrer` browsers send `Origin: null` with our own forms; this tells other sites as little.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_STAY_ON_TLS: Final = (b"strict-transport-security", b"max-age=31536000")
_LONG_LIVED: Final = ("/assets/", "/fonts/")
_OURS: Final = frozenset(
    {name for name, _ in (*_FIXED, _STAY_ON_TLS)} | {b"content-security-policy", b"cache-control"}
)


class _InlineScripts(HTMLParser):
    """Collects the text of each script element without a source."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and not any(name == "src" for name, _ in attrs):
            self._open = True
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self._open:
            self.found[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = False


def script_hashes(html: str) -> set[str]:
    """Return the content-policy source of each inline script in `html`."""
    parser = _InlineScripts()
    parser.feed(html)
    parser.close()
    digests = (hashlib.sha256(text.encode()).digest() for text in parser.found)
    return {f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests}


def bundle_hashes(web_dir: Path) -> tuple[str, ...]:
    """Return the sources of all inline scripts in the pages below `web_dir`, sorted."""
    hashes: set[str] = set()
    for page in web_dir.rglob("*.html"):
        hashes |= script_hashes(page.read_text(encoding="utf-8"))
    return tuple(sorted(hashes))


def content_policy(host: str, hashes: tuple[str, ...]) -> str:
    """Return the content policy for an answer to the checked Host header `host`."""
    scripts = " ".join(("'self'", *hashes))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; font-src 'self'; connect-src 'self' ws://{host} wss://{host}; "
        "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )


def secured(
    headers: list[tuple[bytes, bytes]],
    path: str,
    host: str,
    hashes: tuple[str, ...],
    status: int,
    *,
    is_tls: bool = False,
) -> list[tuple[bytes, bytes]]:
    """Return `headers` without any cross-origin grant and with the security headers.

    Only finished assets may be kept by a cache; every other answer may hold private data. Over https the
    browser is told to stay there.
    """
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in _OURS and not name.lower().startswith(b"access-control-")
    ]
    is_asset = status in {200, 206, 304} and path.startswith(_LONG_LIVED)
    cache = b"public, max-age=31536000, immutable" if is_asset else b"no-store"
    policy = content_policy(host, hashes).encode("latin-1")
    secure = [*kept, *_FIXED, (b"cache-control", cache), (b"content-security-policy", policy)]
    return [*secure, _STAY_ON_TLS] if is_tls else secure
