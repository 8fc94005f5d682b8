"""Knocks at a running app as a stranger and as another site would, over real sockets.

Run before the app is exposed and by `backprop ui --check`: a rule counts only when this sees it hold.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backprop_app.security.rules import Policy

_WAIT_S: Final = 5.0
_HEAD_BYTES: Final = 4096
_EVIL: Final = "evil.example"
_PAGES: Final = ("/", "/index.html", "/runs", "/no-such-page")
_DATA: Final = ("/session", "/api/runs", "/v1/models", "/_upload/x", "/ping", "/_health", "/theme.css")


@dataclass(frozen=True, slots=True)
class Knock:
    """One request that must be turned away, or must not.

    Attributes:
        name: what it stands for, as a person would say it.
        request: the bytes to send.
        wanted: statuses that are right.
    """

    name: str
    request: bytes
    wanted: frozenset[int]


@dataclass(frozen=True, slots=True)
class Result:
    """How a knock was answered; status 0 when it was not."""

    name: str
    status: int
    holds: bool


def knocks(policy: Policy, port: int, assets: tuple[str, ...] = ()) -> list[Knock]:
    """Return everything to try.

    Args:
        policy: of the app; with a login, strangers must not get in under any name that is served.
        port: in the address bar of those who use the app.
        assets: paths of files of the bundle.
    """
    own = f"localhost:{port}"
    alive = [Knock("the health page answers", _request("GET", "/healthz", own), frozenset({200}))]
    found = [*alive, *_from_other_sites(own, port)]
    if policy.require_session:
        for name in ("localhost", *sorted(policy.allowed_hosts)):
            host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
            scheme = "https" if name in policy.tls_hosts else "http"
            found += _from_strangers(host, scheme, assets)
    return found


def public_knocks(policy: Policy, assets: tuple[str, ...]) -> list[Knock]:
    """Return everything to try from outside, where the names that are reached over https lead here."""
    found: list[Knock] = []
    for name in sorted(policy.tls_hosts):
        found += _from_strangers(name, "https", assets)
        for origin in (f"https://{_EVIL}", f"http://{name}"):
            knock = f"the origin {origin} opens a websocket at {name}"
            found.append(Knock(knock, _upgrade(name, origin), frozenset({403})))
    return found


def status_of(name: str, wanted: frozenset[int]) -> Knock:
    """Return a knock at the health page under a name, with the statuses that are right."""
    return Knock(f"the health page answers at {name}", _request("GET", "/healthz", name), wanted)


async def probe(
    address: str, port: int, tries: list[Knock], *, is_tls: bool = False, wait_s: float = _WAIT_S
) -> list[Result]:
    """Knock everywhere at once and return what came of it, in the same order.

    Args:
        address: name or address to connect to.
        port: to connect to.
        tries: what to send.
        is_tls: whether to speak TLS, with the certificate checked against `address`.
        wait_s: how long each answer may take.
    """
    tls = ssl.create_default_context() if is_tls else None
    knocking = (_knock(address, port, knock, tls, wait_s) for knock in tries)
    return list(await asyncio.gather(*knocking))


def _from_other_sites(own: str, port: int) -> Iterator[Knock]:
    wrong_host, wrong_origin = frozenset({421}), frozenset({403})
    for path in ("/", "/healthz", "/_upload"):
        name = f"a foreign host name opens {path}"
        yield Knock(name, _request("GET", path, f"{_EVIL}:{port}"), wrong_host)
    yield Knock(
        "a foreign host name opens a websocket",
        _upgrade(f"{_EVIL}:{port}", f"http://{_EVIL}:{port}"),
        wrong_host,
    )
    for origin in (f"https://{_EVIL}", f"http://localhost:{port + 1 if port < 65_535 else 1}", "null"):
        post = _request("POST", "/_upload", own, origin=origin)
        yield Knock(f"the origin {origin} sends a form", post, wrong_origin)
        yield Knock(f"the origin {origin} opens a websocket", _upgrade(own, origin), wrong_origin)
    yield Knock("a websocket opens without an origin", _upgrade(own, ""), wrong_origin)


def _from_strangers(host: str, scheme: str, assets: tuple[str, ...]) -> Iterator[Knock]:
    refused = frozenset({303, 401})
    for path in (*_PAGES, *_DATA, *assets):
        yield Knock(f"a stranger opens {path} at {host}", _request("GET", path, host), refused)
    for path in ("/_upload", "/api/runs", "/session", "/v1/chat/completions"):
        post = _request("POST", path, host, origin=f"{scheme}://{host}")
        yield Knock(f"a stranger sends to {path} at {host}", post, refused)
    yield Knock(f"a stranger opens a websocket at {host}", _upgrade(host, f"{scheme}://{host}"), refused)


def _request(method: str, path: str, host: str, *, origin: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close"]
    if origin:
        lines.append(f"origin: {origin}")
    if method == "POST":
        lines.append("content-length: 0")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _upgrade(host: str, origin: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /_event?EIO=4&transport=websocket&token=probe HTTP/1.1",
        f"host: {host}",
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        f"sec-websocket-key: {key}",
    ]
    if origin:
        lines.append(f"origin: {origin}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _knock(address: str, port: int, knock: Knock, tls: ssl.SSLContext | None, wait_s: float) -> Result:
    try:
        async with asyncio.timeout(wait_s):
            reader, writer = await asyncio.open_connection(address, port, ssl=tls)
            try:
                writer.write(knock.request)
                await writer.drain()
                head = await reader.read(_HEAD_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return Result(knock.name, 0, holds=False)
    status = _status(head)
    return Result(knock.name, status, status in knock.wanted)


def _status(head: bytes) -> int:
    parts = head.split(b" ", 2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
