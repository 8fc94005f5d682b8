"""A real uvicorn server in a thread, for tests that speak to it over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn


@contextlib.contextmanager
def running(app: Any, *, ws: str = "websockets-sansio") -> Iterator[int]:
    """Serve `app` on a free loopback port and yield the port."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, ws=ws, lifespan="off", proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    ready = threading.Event()

    async def serve() -> None:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes and return everything the server says until it closes or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        connection.settimeout(0.5)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def status_of(answer: bytes) -> int:
    """Return the status of a raw HTTP answer."""
    return int(answer.split(b" ", 2)[1])


def request(
    method: str = "GET", path: str = "/", *, body: bytes = b"", version: str = "1.1", **headers: str
) -> bytes:
    """Return a raw HTTP request; header names are given with underscores."""
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {len(body)}")
    lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
