"""Cookies of the login: names, flags, and how they are read from a request. Pure."""

from __future__ import annotations

from typing import Final

from backprop_app.security.rules import Headers, values

SESSION: Final = "backprop_session"
FORM: Final = "backprop_form"
_MAX_SAME_NAME: Final = 4


def cookie_name(name: str, *, is_tls: bool) -> str:
    """Return the name under which the browser keeps a cookie; `__Host-` binds it to one https host."""
    return f"__Host-{name}" if is_tls else name


def set_cookie(name: str, value: str, *, max_age_s: int, is_tls: bool) -> tuple[bytes, bytes]:
    """Return the header that sets a cookie which scripts cannot read and other sites cannot send."""
    flags = "; HttpOnly; SameSite=Strict" + ("; Secure" if is_tls else "")
    text = f"{cookie_name(name, is_tls=is_tls)}={value}; Path=/; Max-Age={max_age_s}{flags}"
    return (b"set-cookie", text.encode("latin-1"))


def drop_cookie(name: str, *, is_tls: bool) -> tuple[bytes, bytes]:
    """Return the header that removes a cookie."""
    return set_cookie(name, "", max_age_s=0, is_tls=is_tls)


def read_cookie(headers: Headers, name: str, *, is_tls: bool) -> list[str]:
    """Return the values of a cookie; another server on the same host may have set one of the same name."""
    wanted = cookie_name(name, is_tls=is_tls)
    found: list[str] = []
    for header in values(headers, b"cookie"):
        for part in header.decode("latin-1").split(";"):
            key, equals, value = part.strip().partition("=")
            if equals and key == wanted:
                found.append(value)
    return found[:_MAX_SAME_NAME]
