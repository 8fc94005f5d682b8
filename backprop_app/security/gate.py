"""The gate: one ASGI class around the whole app that turns away what the rules refuse.

It stands outermost, outside Reflex's own cross-origin layer, and once more as `api_transformer`, so that
no way of starting the app is open; a mark in the scope keeps it from running twice. It holds no rule of
its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from starlette.requests import ClientDisconnect

from backprop_app.security import csp, paths, rules
from backprop_app.security.access import Access
from backprop_app.security.guard import Guard, configured_guard
from backprop_app.security.live import LiveSocket
from backprop_app.security.login import BODY_CAP_BYTES, Caller
from backprop_app.security.rules import Host, Policy, Refusal
from backprop_core.auth.store import Session
from backprop_core.ports import Clock

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

USER_HEADER: Final = b"x-backpropagate-user"

_MARK: Final = "backpropagate.gate"
_SILENT_S: Final = 60.0
# The app behind the gate has no use for these, so it cannot lose or show them.
_KEPT_BACK: Final = frozenset({b"cookie", b"authorization", b"proxy-authorization", USER_HEADER})


@dataclass(frozen=True, slots=True)
class _Grant:
    """What the gate found out about a connection that may pass."""

    host: Host
    is_tls: bool
    session: Session | None = None
    name: str = ""


class _CountedBody:
    """Counts the bytes of a request body and waits for each part only so long.

    Over the cap, or when the client falls silent, it answers itself and tells the app that the client left.
    """

    def __init__(self, receive: Receive, send: Send, cap_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left = cap_bytes
        self._started = False
        self._is_complete = False
        self.is_over = False

    async def receive(self) -> Message:
        """Return the next message of the client."""
        try:
            message = await asyncio.wait_for(self._receive(), None if self._is_complete else _SILENT_S)
        except TimeoutError:
            return await self._end(rules.SILENT)
        self._left -= len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        return message if self._left >= 0 else await self._end(rules.TOO_LARGE)

    async def send(self, message: Message) -> None:
        """Hand on a message of the app, unless the answer was already given here."""
        if self.is_over:
            return
        self._started = True
        await self._send(message)

    async def _end(self, refusal: Refusal) -> Message:
        if not self.is_over and not self._started:
            await _answer(self._send, refusal)
        self.is_over = True
        return {"type": "http.disconnect"}


async def _answer(send: Send, refusal: Refusal, *, prefix: str = "", **headers: str) -> None:
    body = f"{refusal.message}\n".encode()
    lines = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "connection": "close",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in lines.items()]
    await send({"type": f"{prefix}http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": f"{prefix}http.response.body", "body": body})


class Gate:
    """Wraps an ASGI app and lets through what the policy allows.

    Args:
        app: what is protected.
        policy: what the operator allowed. When None, environment and store decide at the first connection
            whether a login is needed: this is how a server that nobody prepared finds the gate.
        script_hashes: content-policy sources of the inline scripts of the bundle.
        access: who may pass; needed when the policy asks for a session.
        clock: for the life of open websockets.

    Raises:
        ValueError: the policy asks for a session and nobody could have one.
    """

    def __init__(
        self,
        app: Asgi,
        policy: Policy | None = None,
        script_hashes: tuple[str, ...] = (),
        access: Access | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = app
        self._hashes = script_hashes
        self._guard = Guard(policy, access, clock) if policy is not None else None

    def change(self, policy: Policy) -> None:
        """Work by another policy from now on, for a name that comes or goes while the app runs.

        Raises:
            ValueError: it would take the login away, or ask for one that nobody could have.
        """
        guard = self._guard
        if guard is None or policy.require_session != guard.policy.require_session:
            raise ValueError("whether a login is needed stays as it was when the app was started")
        guard.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one connection, then hand it on or refuse it."""
        if scope["type"] == "lifespan" or scope.get(_MARK):
            await self._app(scope, receive, send)
            return
        scope[_MARK] = True
        guard = self._guard = self._guard or configured_guard()
        decision = _decide(scope, guard)
        if isinstance(decision, Refusal):
            await self._refuse(scope, receive, send, decision, guard)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send, decision, guard)
        else:
            await self._request(scope, receive, send, decision, guard)

    async def _socket(self, scope: Scope, receive: Receive, send: Send, grant: _Grant, guard: Guard) -> None:
        socket = LiveSocket(receive, send, guard.clock)
        with guard.live.opened(socket, grant.session):
            try:
                await self._app(_inner(scope, grant), socket.receive, socket.send)
            finally:
                await socket.finish()

    async def _request(self, scope: Scope, receive: Receive, send: Send, grant: _Grant, guard: Guard) -> None:
        secured = self._secured(scope, send, guard.policy)
        body = _CountedBody(receive, secured, _body_cap(scope["path"], guard.policy))
        try:
            if scope["path"] in paths.OURS:
                peer = rules.visitor(_peer(scope), scope["headers"], grant.host, guard.policy)
                caller = Caller(peer, grant.is_tls, grant.session)
                answer = await guard.desk.answer(scope, body.receive, caller)
                await answer.send(body.send)
            else:
                await self._app(_inner(scope, grant), body.receive, body.send)
        except ClientDisconnect:
            if not body.is_over:
                raise

    def _secured(self, scope: Scope, send: Send, policy: Policy) -> Send:
        text = b"".join(rules.values(scope["headers"], b"host")[:1]).decode("latin-1")
        host = rules.parse_host(text)
        shown = text if host is not None else "localhost"
        is_tls = host is not None and rules.scheme_of(host, scope["scheme"], policy) == "https"

        async def secure(message: Message) -> None:
            if message["type"].endswith("response.start"):
                headers = list(message.get("headers", []))
                message["headers"] = csp.secured(
                    headers, scope["path"], shown, self._hashes, message["status"], is_tls=is_tls
                )
            await send(message)

        return secure

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, refusal: Refusal, guard: Guard
    ) -> None:
        secured = self._secured(scope, send, guard.policy)
        if scope["type"] == "http":
            if refusal is rules.NO_SESSION:
                await _send_to_login(scope, secured)
            else:
                await _answer(secured, refusal)
            return
        await receive()
        if "websocket.http.response" in scope.get("extensions", {}):
            await _answer(secured, refusal, prefix="websocket.")
        else:
            await send({"type": "websocket.close", "code": refusal.close_code, "reason": refusal.message})


def _decide(scope: Scope, guard: Guard) -> _Grant | Refusal:
    """Apply the rules in their order: host, address, origin, site, size, then who it is."""
    headers, policy = scope["headers"], guard.policy
    host = rules.check_peer(_peer(scope), policy) or rules.check_host(headers, policy)
    if isinstance(host, Refusal):
        return host
    if not paths.is_clean(scope["path"]):
        return rules.BAD_PATH
    is_socket = scope["type"] == "websocket"
    scheme = rules.scheme_of(host, scope["scheme"], policy)
    refusal = rules.check_origin(headers, host, scheme, required=is_socket)
    if refusal is None and (is_socket or scope["method"] not in rules.SAFE_METHODS):
        refusal = rules.check_fetch_site(headers)
    if refusal is None and not is_socket:
        refusal = rules.check_length(headers, _body_cap(scope["path"], policy))
    if refusal is not None:
        return refusal
    grant = _identify(scope, guard, host, is_tls=scheme == "https")
    return _check_socket(scope, guard, grant) if is_socket and isinstance(grant, _Grant) else grant


def _identify(scope: Scope, guard: Guard, host: Host, *, is_tls: bool) -> _Grant | Refusal:
    """Return who is there; without a login everybody is the operator."""
    if not guard.policy.require_session or guard.access is None:
        return rules.NO_SESSION if guard.policy.require_session else _Grant(host, is_tls)
    headers, is_http = scope["headers"], scope["type"] == "http"
    if is_http and paths.takes_token(scope["path"]) and rules.values(headers, b"authorization"):
        token = guard.access.token(headers)
        return _Grant(host, is_tls, name=f"token {token.token_id}") if token else rules.NO_SESSION
    session = guard.access.session(headers, is_tls=is_tls)
    if session is not None:
        return _Grant(host, is_tls, session, session.user)
    if is_http and paths.is_public(scope["method"], scope["path"]):
        return _Grant(host, is_tls)
    return rules.NO_SESSION


def _check_socket(scope: Scope, guard: Guard, grant: _Grant) -> _Grant | Refusal:
    if not guard.live.has_room(grant.session):
        return rules.TOO_MANY
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=20)
    clients = query.get("token", [])
    if grant.session is not None:
        for client in clients:
            if not guard.live.is_client_of(client, grant.session):
                return rules.FOREIGN_CLIENT
    return grant


def _inner(scope: Scope, grant: _Grant) -> Scope:
    """Return the scope for the app: who is there, without what proves it."""
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _KEPT_BACK]
    if grant.name:
        headers.append((USER_HEADER, grant.name.encode()))
    scope["headers"] = headers
    return scope


async def _send_to_login(scope: Scope, send: Send) -> None:
    """Lead a person to the login page; tell a program in its own words."""
    if paths.is_navigation(scope["method"], scope["path"], scope["headers"]):
        to = paths.login_address(scope["path"], scope.get("query_string", b""))
        await _answer(send, Refusal(303, 0, rules.NO_SESSION.message), location=to)
        return
    body = {"error": {"code": "INPUT_AUTH_REQUIRED", "message": rules.NO_SESSION.message}}
    await _answer(
        send,
        Refusal(401, 0, orjson.dumps(body).decode()),
        content_type="application/json",
        www_authenticate='Bearer realm="backpropagate"',
    )


def _body_cap(path: str, policy: Policy) -> int:
    return BODY_CAP_BYTES if path in paths.OURS else rules.body_cap(path, policy)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
