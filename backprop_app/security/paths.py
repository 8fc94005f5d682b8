"""Which addresses are open, which take a token, and where a login may lead to. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import quote

from backprop_app.security.rules import Headers, values

LOGIN: Final = "/login"
LOGIN_FONT: Final = "/login/inter.woff2"
LOGOUT: Final = "/logout"
SESSION: Final = "/session"

# Everything that a stranger may reach, compared as a whole: a prefix would open what lies below it.
PUBLIC: Final = frozenset(
    [
        ("GET", LOGIN),
        ("HEAD", LOGIN),
        ("POST", LOGIN),
        ("GET", LOGIN_FONT),
        ("POST", LOGOUT),
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("GET", "/favicon.svg"),
    ]
)
OURS: Final = frozenset({LOGIN, LOGIN_FONT, LOGOUT, SESSION})

_SCRIPTS: Final = ("/api/", "/v1/")
# What no person ever opens: an answer in words would be read by nobody.
_NEVER_OPENED: Final = ("/api", "/v1", "/_upload", "/_event", "/assets", "/fonts", SESSION, "/ping")
_SEGMENT: Final = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_PAGE: Final = re.compile(rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*/?)?(?:\?[A-Za-z0-9._~=&%+-]*)?\Z")
_NOT_AFTER_LOGIN: Final = re.compile(r"/(?:login|logout|session)(?:[/?]|\Z)")
_MAX_NEXT: Final = 500


def is_clean(path: str) -> bool:
    """Tell whether a decoded path means one place only, whoever reads it: no dot segments, no backslash."""
    if (
        not path.startswith("/")
        or "\\" in path
        or any(ord(char) < 0x20 or ord(char) == 0x7F for char in path)
    ):
        return False
    normal = posixpath.normpath(path)
    return path.rstrip("/") == normal.rstrip("/") and not path.startswith("//")


def is_public(method: str, path: str) -> bool:
    """Tell whether a stranger may make this request."""
    return (method, path) in PUBLIC


def takes_token(path: str) -> bool:
    """Tell whether a bearer token of a script is accepted there."""
    return path.startswith(_SCRIPTS)


def is_navigation(method: str, path: str, headers: Headers) -> bool:
    """Tell whether a person opens a page, so that the login page helps more than an error."""
    if method not in {"GET", "HEAD"} or path.startswith(_NEVER_OPENED):
        return False
    modes = values(headers, b"sec-fetch-mode")
    if modes:
        return modes == [b"navigate"]
    return any(b"text/html" in value for value in values(headers, b"accept"))


def login_address(path: str, query: bytes) -> str:
    """Return where a stranger is sent who wanted to open a page."""
    wanted = path + (f"?{query.decode('latin-1')}" if query else "")
    page = next_page(wanted)
    return LOGIN if page == "/" else f"{LOGIN}?next={quote(page, safe='')}"


def next_page(wanted: str) -> str:
    """Return the page of ours that `wanted` names, `/` for anything else.

    Args:
        wanted: as the form parser gave it, decoded once.
    """
    if len(wanted) > _MAX_NEXT or not _PAGE.match(wanted) or _NOT_AFTER_LOGIN.match(wanted):
        return "/"
    return wanted
