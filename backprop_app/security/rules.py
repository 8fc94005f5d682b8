"""The rules of the gate as pure functions: which Host, Origin and body size a request may carry.

Nothing here reads a socket. `gate.py` applies the rules in order.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

Headers = Sequence[tuple[bytes, bytes]]

Mode = Literal["local", "lan", "share", "container"]

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_SAME_SITE: Final = frozenset({b"same-origin", b"none"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\Z")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\\?#\s]+)(?::([0-9]{1,5}))?\Z")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator allowed when the app was started.

    Attributes:
        mode: how the app is exposed.
        allowed_hosts: lower-case names accepted besides the loopback ones.
        tls_hosts: those of them that the browser reaches over https, through a tunnel that ends there.
        require_session: whether everything but the public paths needs a login.
        body_cap_bytes: largest request body, except for uploads.
        upload_cap_bytes: largest upload.
        upload_paths: path prefixes where the upload cap counts.
        max_sockets: websockets that may be open at once.
        max_session_sockets: websockets of one session.
        peer_header: header in which the tunnel tells the address of a visitor, under `tls_hosts` alone.
        peers: addresses that may connect besides loopback; all of them when empty.
    """

    mode: Mode = "local"
    allowed_hosts: frozenset[str] = field(default_factory=frozenset)
    tls_hosts: frozenset[str] = field(default_factory=frozenset)
    require_session: bool = False
    body_cap_bytes: int = 1 * _MIB
    upload_cap_bytes: int = 512 * _MIB
    upload_paths: tuple[str, ...] = ("/_upload", "/api/uploads")
    max_sockets: int = 128
    max_session_sockets: int = 16
    peer_header: bytes = b""
    peers: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Host:
    """A parsed Host header: a lower-case name or literal without brackets, and the port."""

    name: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is turned away: HTTP status, websocket close code, one sentence."""

    status: int
    close_code: int
    message: str


WRONG_HOST: Final = Refusal(421, 4404, "This server does not answer to that host name.")
WRONG_ORIGIN: Final = Refusal(403, 4403, "The request comes from another site.")
BAD_PATH: Final = Refusal(400, 4400, "The address is not in its normal form.")
WRONG_PEER: Final = Refusal(403, 4403, "This server takes connections from its own machine alone.")
NO_SESSION: Final = Refusal(401, 4401, "Sign in first.")
FOREIGN_CLIENT: Final = Refusal(403, 4403, "The tab belongs to another session.")
SILENT: Final = Refusal(408, 4408, "The request stopped halfway.")
TOO_LARGE: Final = Refusal(413, 4413, "The request is larger than this address accepts.")
TOO_MANY: Final = Refusal(429, 4429, "Too many open connections.")


def parse_host(value: str) -> Host | None:
    """Parse a Host header strictly.

    Returns:
        The host, or None for user info, a trailing dot, a bad port, spaces or any other oddity.
    """
    match = _HOST.match(value.lower())
    if match is None:
        return None
    name, port_text = match[1], match[2]
    port = int(port_text) if port_text else None
    if port is not None and not 0 < port < 65_536:
        return None
    if name.startswith("["):
        name = name[1:-1]
        return Host(name, port) if _literal(name) is not None else None
    return Host(name, port) if _NAME.match(name) else None


def _literal(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def is_loopback(name: str) -> bool:
    """Tell whether `name` always means this machine."""
    literal = _literal(name)
    if literal is not None:
        return literal.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Return every value of the header `name`, given in lower case."""
    return [value for key, value in headers if key.lower() == name]


def check_host(headers: Headers, policy: Policy) -> Host | Refusal:
    """Return the host of the request, or why it is refused: exactly one header, on the list."""
    hosts = values(headers, b"host")
    if len(hosts) != 1:
        return WRONG_HOST
    host = parse_host(hosts[0].decode("latin-1"))
    if host is None or not (is_loopback(host.name) or host.name in policy.allowed_hosts):
        return WRONG_HOST
    return host


def check_peer(peer: str, policy: Policy) -> Refusal | None:
    """Return why a connection from `peer` is refused; an address that is not known is not refused."""
    if not policy.peers or not peer or peer in policy.peers or is_loopback(peer):
        return None
    return WRONG_PEER


def visitor(peer: str, headers: Headers, host: Host, policy: Policy) -> str:
    """Return who a limit is counted for: through a tunnel that is whom the tunnel names, not its end here."""
    if policy.mode != "share" or host.name not in policy.tls_hosts:
        return peer
    given = values(headers, policy.peer_header) if policy.peer_header else []
    text = given[0].decode("latin-1") if len(given) == 1 else ""
    return f"tunnel {text}" if _literal(text) is not None else "tunnel"


def scheme_of(host: Host, scope_scheme: str, policy: Policy) -> str:
    """Return the scheme that the browser used to reach `host`."""
    return "https" if scope_scheme in {"https", "wss"} or host.name in policy.tls_hosts else "http"


def check_origin(headers: Headers, host: Host, scheme: str, *, required: bool) -> Refusal | None:
    """Return why the Origin is refused: if present it must be `scheme://Host` of this very request.

    Args:
        headers: of the request.
        host: from `check_host`.
        scheme: `http` or `https`.
        required: whether a missing header is refused, too.
    """
    origins = values(headers, b"origin")
    if not origins:
        return WRONG_ORIGIN if required else None
    if len(origins) != 1:
        return WRONG_ORIGIN
    return None if _same_origin(origins[0].decode("latin-1"), host, scheme) else WRONG_ORIGIN


def _same_origin(origin: str, host: Host, scheme: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    theirs = parse_host(parts.netloc)
    if parts.scheme != scheme or theirs is None or parts.path or parts.query or parts.fragment:
        return False
    default = _DEFAULT_PORTS[scheme]
    return theirs.name == host.name and (theirs.port or default) == (host.port or default)


def check_fetch_site(headers: Headers) -> Refusal | None:
    """Return why a changing request is refused: browsers must call it same-origin or typed by hand."""
    sites = values(headers, b"sec-fetch-site")
    return None if all(site in _SAME_SITE for site in sites) else WRONG_ORIGIN


def body_cap(path: str, policy: Policy) -> int:
    """Return how many bytes a request body to `path` may have."""
    is_upload = any(path == prefix or path.startswith(f"{prefix}/") for prefix in policy.upload_paths)
    return policy.upload_cap_bytes if is_upload else policy.body_cap_bytes


def check_length(headers: Headers, cap_bytes: int) -> Refusal | None:
    """Return why the announced body length is refused; a length that is no number is refused, too."""
    for value in values(headers, b"content-length"):
        if not value.isdigit() or int(value) > cap_bytes:
            return TOO_LARGE
    return None
