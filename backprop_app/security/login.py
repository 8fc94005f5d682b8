"""The addresses of the login: `/login`, `/logout` and `/session`. Plain forms, no script needed.

Reached only through the gate, which has checked host, origin and size by then.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from secrets import compare_digest
from typing import Any, Final
from urllib.parse import parse_qs

from backprop_app.security import cookies, paths
from backprop_app.security.access import Access, Denied
from backprop_app.security.live import LiveSockets
from backprop_app.security.login_page import LoginForm, LoginPage
from backprop_app.security.rules import Headers, values
from backprop_core.auth.store import Session

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_CAP_BYTES: Final = 16 * 1024
_FORM_LIFE_S: Final = 3600
_MAX_FIELDS: Final = 8
_FORM_TYPE: Final = b"application/x-www-form-urlencoded"
_HTML: Final = (b"content-type", b"text/html; charset=utf-8")
_JSON: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, as the gate found out."""

    peer: str
    is_tls: bool
    session: Session | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    async def send(self, send: Send) -> None:
        """Send it whole."""
        length = (b"content-length", str(len(self.body)).encode())
        headers = [*self.headers, length]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def redirect(to: str, *headers: tuple[bytes, bytes]) -> Answer:
    """Return the answer that leads to one of our own pages."""
    return Answer(303, ((b"location", to.encode("latin-1")), *headers), b"")


class LoginDesk:
    """Answers the addresses of the login.

    Args:
        access: who may pass; None when nobody has to sign in.
        page: the form.
        live: open sockets, closed at a logout.
    """

    def __init__(self, access: Access | None, page: LoginPage | None, live: LiveSockets) -> None:
        self._access = access
        self._page = page
        self._live = live

    async def answer(self, scope: Scope, receive: Receive, caller: Caller) -> Answer:
        """Return the answer to a request for one of `paths.OURS`."""
        method, path = scope["method"], scope["path"]
        if method not in {"GET", "HEAD", "POST"}:
            return Answer(405, ((b"allow", b"GET, HEAD, POST"),))
        if path == paths.SESSION:
            return await self._session(scope["headers"], caller, is_use=method == "POST")
        if self._access is None or self._page is None:
            return redirect("/")
        if path == paths.LOGIN_FONT:
            return Answer(200, ((b"content-type", b"font/woff2"),), self._page.font)
        if path == paths.LOGOUT:
            return await self._log_out(caller) if method == "POST" else redirect("/")
        if method == "POST":
            return await self._log_in(self._access, scope["headers"], receive, caller)
        wanted = _first(parse_qs(scope.get("query_string", b"").decode("latin-1")), "next")
        if caller.session is not None:
            return redirect(paths.next_page(wanted))
        return self._form(LoginForm(_new_token(), paths.next_page(wanted)), caller, 200)

    async def _log_in(self, access: Access, headers: Headers, receive: Receive, caller: Caller) -> Answer:
        fields = await _read_form(headers, receive)
        if fields is None:
            return Answer(400, ((b"content-type", b"text/plain"),), b"This is not the login form.\n")
        user, password = _first(fields, "user"), _first(fields, "password")
        form = LoginForm(_new_token(), paths.next_page(_first(fields, "next")), user[:64])
        if not _is_our_form(headers, _first(fields, "token"), caller):
            return self._form(replace(form, error="This form was too old. Please try again."), caller, 403)
        agent = b" ".join(values(headers, b"user-agent")).decode("latin-1")
        result = await access.log_in(user, password, peer=caller.peer, agent=agent, is_tls=caller.is_tls)
        if isinstance(result, Denied):
            return self._denied(form, result, caller)
        if caller.session is not None:
            await access.log_out(caller.session, peer=caller.peer)
            self._live.end_session(caller.session.sid_hash)
        return redirect(form.next, result.cookie, cookies.drop_cookie(cookies.FORM, is_tls=caller.is_tls))

    async def _log_out(self, caller: Caller) -> Answer:
        assert self._access is not None
        if caller.session is not None:
            await self._access.log_out(caller.session, peer=caller.peer)
            self._live.end_session(caller.session.sid_hash)
        return redirect(paths.LOGIN, cookies.drop_cookie(cookies.SESSION, is_tls=caller.is_tls))

    async def _session(self, headers: Headers, caller: Caller, *, is_use: bool) -> Answer:
        """Tell the page who is signed in; a POST counts as use and renews the cookie when it is old."""
        added: tuple[tuple[bytes, bytes], ...] = ()
        if is_use and self._access is not None and caller.session is not None:
            cookie = await self._access.refresh(headers, is_tls=caller.is_tls)
            added = (cookie,) if cookie else ()
            alive = self._access.is_alive(caller.session)
            if alive is not None:
                self._live.prolong(alive)
        user = caller.session.user if caller.session else None
        return Answer(200, (_JSON, *added), json.dumps({"user": user}).encode())

    def _denied(self, form: LoginForm, denied: Denied, caller: Caller) -> Answer:
        if denied.wait_s:
            answer = self._form(
                replace(form, error=f"Too many tries. Try again {_in(denied.wait_s)}."), caller, 429
            )
            retry = (b"retry-after", str(denied.wait_s).encode())
            return Answer(answer.status, (*answer.headers, retry), answer.body)
        tries = "1 try" if denied.left == 1 else f"{denied.left or 'No'} tries"
        text = f"User and password do not match. {tries} left this minute."
        return self._form(replace(form, error=text), caller, 401)

    def _form(self, form: LoginForm, caller: Caller, status: int) -> Answer:
        assert self._page is not None
        cookie = cookies.set_cookie(cookies.FORM, form.token, max_age_s=_FORM_LIFE_S, is_tls=caller.is_tls)
        return Answer(status, (_HTML, cookie), self._page.render(form).encode())


def _new_token() -> str:
    return secrets.token_urlsafe(24)


def _in(seconds: int) -> str:
    return f"in {seconds} s" if seconds < 120 else f"in {-(-seconds // 60)} min"


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _is_our_form(headers: Headers, token: str, caller: Caller) -> bool:
    """Tell whether the form came from a page that we gave to this browser."""
    given = cookies.read_cookie(headers, cookies.FORM, is_tls=caller.is_tls)
    return bool(token) and any(compare_digest(value.encode(), token.encode()) for value in given)


async def _read_form(headers: Headers, receive: Receive) -> dict[str, list[str]] | None:
    """Return the fields of the body, None when it is no form; the gate counts its bytes."""
    kind = b"".join(values(headers, b"content-type")).partition(b";")[0].strip().lower()
    if kind != _FORM_TYPE:
        return None
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        return parse_qs(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="replace"
        )
    except ValueError:
        return None
