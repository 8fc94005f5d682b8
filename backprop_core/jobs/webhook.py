"""Sends one notice to the address that the operator chose, and tells whether it arrived.

The address comes from `config.toml` or the environment, never from a page. It may lie on this machine
or in its network; a link-local address never, because that is where clouds hand out credentials. Redirects
are not followed, proxies are not asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import orjson

from backprop_core.runs.outbox import Post
from backprop_core.version import __version__

_TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 1024


class WebhookError(Exception):
    """A notice did not arrive; the text names the reason and no address.

    Attributes:
        is_final: whether another try cannot help.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class Sender(Protocol):
    """Delivers a notice."""

    def __call__(self, url: str, post: Post) -> None:
        """Return when it arrived.

        Raises:
            WebhookError: it did not.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Target:
    is_tls: bool
    host: str
    port: int
    path: str


def send(url: str, post: Post) -> None:
    """Post a notice as JSON; `text` is what Slack and Mattermost show, `content` what Discord shows.

    The header `Idempotency-Key` names the notice: a receiver that sees one twice, because this machine was
    cut off between its answer and our note of it, can tell.

    Raises:
        WebhookError: the address is not allowed, or the receiver did not answer with 2xx.
    """
    target = _target(url)
    _require_allowed(target)
    kind = http.client.HTTPSConnection if target.is_tls else http.client.HTTPConnection
    connection = kind(target.host, target.port, timeout=_TIMEOUT_S)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Backpropagate/{__version__}",
        "Idempotency-Key": f"{post.notice.run_id}-{post.id}",
    }
    try:
        connection.connect()
        # The name may stand for another address by now than when it was checked.
        _require_not_link_local(connection.sock.getpeername()[0])
        connection.request("POST", target.path, orjson.dumps(payload(post)), headers)
        answer = connection.getresponse()
        answer.read(_READ_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise WebhookError(type(error).__name__) from error
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        is_refusal = 400 <= answer.status < 500 and answer.status not in {408, 425, 429}
        raise WebhookError(f"status {answer.status}", is_final=is_refusal)


def payload(post: Post) -> dict[str, Any]:
    """Return what the receiver reads."""
    notice = post.notice
    line = ". ".join(part for part in (notice.title, notice.text) if part)
    return {
        "schema_version": 1,
        "id": post.id,
        "text": line,
        "content": line,
        "at": post.created_at,
        **notice.model_dump(),
    }


def _target(url: str) -> _Target:
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(is_tls, parts.hostname or "", parts.port or (443 if is_tls else 80), path)


def _require_allowed(target: _Target) -> None:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebhookError("the host has no address") from error
    for *_, address in found:
        _require_not_link_local(str(address[0]))


def _require_not_link_local(text: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    plain = getattr(address, "ipv4_mapped", None) or address
    if plain.is_link_local or plain.is_multicast or plain.is_unspecified:
        raise WebhookError("a link-local, multicast or unspecified address is never called", is_final=True)
