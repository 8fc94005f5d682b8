"""Ports and the server on them. Decides nothing about who may connect."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from backprop_app.security.probe import Knock, Result, probe
from backprop_core.errors import InputError, RunError

if TYPE_CHECKING:
    import uvicorn

LOOPBACK: Final = "127.0.0.1"
_GRACE_S: Final = 3
_BACKLOG: Final = 128
_SOCKET_MESSAGE_BYTES: Final = 1_000_000


def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on `host`; for 127.0.0.1 on ::1 too, where there is one.

    Raises:
        RunError: RUNTIME_UI_PORT_IN_USE.
    """
    listening = [_listen(host, port)]
    if host in {"127.0.0.1", "localhost"} and socket.has_ipv6:
        with contextlib.suppress(OSError, RunError):
            listening.append(_listen("::1", listening[0].getsockname()[1]))
    return listening


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise RunError(
                "RUNTIME_UI_PORT_IN_USE", f"Port {port} on {host} is taken by another program."
            ) from error
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{host} is no address of this machine: {error.strerror}."
        ) from error
    return listening


async def knock_privately(asgi: Any, tries: list[Knock]) -> list[Result]:
    """Serve the finished app on a port that nobody was told, knock there, and end that server."""
    with _listen(LOOPBACK, 0) as private:
        ready = asyncio.Event()
        # What a stranger must never reach does not need to be running.
        server = make_server(asgi, ready.set, lifespan="off")
        serving = asyncio.create_task(server.serve(sockets=[private]))
        try:
            await ready.wait()
            return await probe(LOOPBACK, private.getsockname()[1], tries)
        finally:
            server.should_exit = True
            await serving


def make_server(
    asgi: Any, when_started: Callable[[], None], *, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Server:
    """Return the server of an app; it runs in this process and forks none."""
    import uvicorn

    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                when_started()

    config = uvicorn.Config(
        asgi,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan=lifespan,
        ws="websockets-sansio",
        ws_max_size=_SOCKET_MESSAGE_BYTES,
        ws_per_message_deflate=True,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return Server(config)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drop what uvicorn logs as an error although nothing is wrong.

    That is a line for each websocket that was refused with a status of its own, and the trace of the
    app's lifespan when a second Ctrl-C cuts the orderly end short.
    """
    message = record.getMessage()
    is_refusal = message == "ASGI callable returned without completing handshake."
    return not is_refusal and not message.rstrip().endswith("CancelledError")
