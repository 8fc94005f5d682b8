"""The gate: one ASGI class around the whole app that turns away what the rules refuse.

It stands outermost, outside Reflex's own cross-origin layer, and once more as `api_transformer`, so that
no way of starting the app is open; a mark in the scope keeps it from running twice. It holds no rule of
its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.requests import ClientDisconnect

from backprop_app.security import csp, rules
from backprop_app.security.rules import Host, Policy, Refusal

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_MARK: Final = "backpropagate.gate"


class _CountedBody:
    """Counts the bytes of a request body; over the cap it answers 413 and tells the app that the client left."""

    def __init__(self, receive: Receive, send: Send, cap_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left = cap_bytes
        self._started = False
        self.is_over = False

    async def receive(self) -> Message:
        """Return the next message of the client."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left >= 0:
            return message
        if not self.is_over and not self._started:
            await _answer(self._send, rules.TOO_LARGE)
        self.is_over = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Hand on a message of the app, unless the answer was already given here."""
        if self.is_over:
            return
        self._started = True
        await self._send(message)


async def _answer(send: Send, refusal: Refusal, *, prefix: str = "") -> None:
    body = f"{refusal.message}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": f"{prefix}http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{prefix}http.response.body", "body": body})


class Gate:
    """Wraps an ASGI app and lets through what the policy allows.

    Args:
        app: what is protected.
        policy: what the operator allowed; local use without a login by default.
        script_hashes: content-policy sources of the inline scripts of the bundle.
    """

    def __init__(self, app: Asgi, policy: Policy | None = None, script_hashes: tuple[str, ...] = ()) -> None:
        self._app = app
        self._policy = policy or Policy()
        self._hashes = script_hashes
        self._open_sockets = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one connection, then hand it on or refuse it."""
        if scope["type"] == "lifespan" or scope.get(_MARK):
            await self._app(scope, receive, send)
            return
        scope[_MARK] = True
        decision = self._decide(scope)
        if isinstance(decision, Refusal):
            await self._refuse(scope, receive, send, decision)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    def _decide(self, scope: Scope) -> Host | Refusal:
        headers = scope["headers"]
        host = rules.check_host(headers, self._policy)
        if isinstance(host, Refusal):
            return host
        is_socket = scope["type"] == "websocket"
        scheme = "https" if scope["scheme"] in {"https", "wss"} else "http"
        refusal = rules.check_origin(headers, host, scheme, required=is_socket)
        if refusal is None and (is_socket or scope["method"] not in rules.SAFE_METHODS):
            refusal = rules.check_fetch_site(headers)
        if refusal is None and is_socket and self._open_sockets >= self._policy.max_sockets:
            refusal = rules.TOO_MANY
        if refusal is None and not is_socket:
            refusal = rules.check_length(headers, rules.body_cap(scope["path"], self._policy))
        return refusal or host

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._open_sockets += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open_sockets -= 1

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _CountedBody(receive, self._secured(scope, send), rules.body_cap(scope["path"], self._policy))
        try:
            await self._app(scope, body.receive, body.send)
        except ClientDisconnect:
            if not body.is_over:
                raise

    def _secured(self, scope: Scope, send: Send) -> Send:
        host = b"".join(rules.values(scope["headers"], b"host")[:1]).decode("latin-1")
        shown = host if rules.parse_host(host) is not None else "localhost"

        async def secure(message: Message) -> None:
            if message["type"].endswith("response.start"):
                headers = list(message.get("headers", []))
                message["headers"] = csp.secured(
                    headers, scope["path"], shown, self._hashes, message["status"]
                )
            await send(message)

        return secure

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
        if scope["type"] == "http":
            await _answer(self._secured(scope, send), refusal)
            return
        await receive()
        if "websocket.http.response" in scope.get("extensions", {}):
            await _answer(self._secured(scope, send), refusal, prefix="websocket.")
        else:
            await send({"type": "websocket.close", "code": refusal.close_code, "reason": refusal.message})
