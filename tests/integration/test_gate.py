"""The gate over real sockets: what it lets through, what it turns away, and what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading

import pytest
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from backprop_app.security.gate import Gate
from backprop_app.security.rules import Policy
from tests.support.asgi_server import exchange, request, running, status_of

SECURITY_HEADERS = (
    b"content-security-policy:",
    b"x-frame-options: DENY",
    b"x-content-type-options: nosniff",
    b"referrer-policy: same-origin",
    b"cross-origin-opener-policy: same-origin",
    b"cross-origin-resource-policy: same-origin",
    b"permissions-policy:",
)


class Inner:
    """An app that counts what reaches it and grants cross-origin access, as Reflex's own layer does."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.body_bytes = 0

    def app(self) -> Starlette:
        async def page(request: Request) -> PlainTextResponse:
            self.reached.append(request.method)
            async for chunk in request.stream():
                self.body_bytes += len(chunk)
            grant = {"access-control-allow-origin": request.headers.get("origin", "*")}
            return PlainTextResponse("page", headers=grant)

        async def crash(_request: Request) -> PlainTextResponse:
            raise ValueError("a defect")

        async def socket_end(socket: WebSocket) -> None:
            self.reached.append("websocket")
            await socket.accept()
            await socket.send_text("hello")
            with contextlib.suppress(WebSocketDisconnect):
                await socket.receive_text()
                await socket.close()

        methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        return Starlette(
            routes=[
                Route("/crash", crash),
                WebSocketRoute("/_event", socket_end),
                Route("/{path:path}", page, methods=methods),
            ]
        )


@pytest.fixture(scope="module")
def server():
    inner = Inner()
    policy = Policy(body_cap_bytes=1000, upload_cap_bytes=5000, max_sockets=2)
    with running(Gate(inner.app(), policy)) as port:
        yield inner, port


@pytest.fixture
def inner(server):
    server[0].reached.clear()
    server[0].body_bytes = 0
    return server[0]


@pytest.fixture
def port(server):
    return server[1]


@pytest.mark.parametrize("path", ["/", "/assets/app.js", "/healthz", "/_upload", "/api/runs"])
def test_a_foreign_host_gets_421_everywhere(port, inner, path):
    assert status_of(exchange(port, request(path=path, host="evil.example"))) == 421
    assert inner.reached == []


@pytest.mark.parametrize("host", ["localhost.", "localhost:notaport", "user@localhost", "", "0.0.0.0:7860"])
def test_an_odd_host_gets_421(port, inner, host):
    assert status_of(exchange(port, request(host=host))) == 421
    assert inner.reached == []


def test_two_host_headers_get_no_page(port, inner):
    raw = b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert status_of(exchange(port, raw)) in {400, 421}
    assert inner.reached == []


def test_http_1_0_without_a_host_gets_no_page(port, inner):
    assert status_of(exchange(port, b"GET / HTTP/1.0\r\n\r\n")) in {400, 421}
    assert inner.reached == []


def test_a_forwarded_host_does_not_help(port):
    assert status_of(exchange(port, request(host="evil.example", x_forwarded_host="localhost"))) == 421


@pytest.mark.parametrize("host", ["LOCALHOST:9000", "[::1]:7860", "127.0.0.1"])
def test_loopback_names_are_served_on_any_port(port, host):
    assert status_of(exchange(port, request(host=host))) == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_foreign_origin_gets_403_for_every_method(port, inner, method, origin):
    answer = exchange(port, request(method, host="localhost:7860", origin=origin))
    assert status_of(answer) == 403
    assert b"access-control-allow-origin" not in answer.lower()
    assert inner.reached == []


def test_a_form_of_another_site_gets_403(port, inner):
    answer = exchange(
        port,
        request(
            "POST",
            host="localhost:7860",
            content_type="application/x-www-form-urlencoded",
            sec_fetch_site="cross-site",
            body=b"a=b",
        ),
    )
    assert status_of(answer) == 403
    assert inner.reached == []


def test_our_own_page_may_post_and_gets_no_cross_origin_grant(port, inner):
    answer = exchange(
        port,
        request(
            "POST",
            host="localhost:7860",
            origin="http://localhost:7860",
            sec_fetch_site="same-origin",
            body=b"x",
        ),
    )
    assert status_of(answer) == 200
    assert b"access-control-allow-origin" not in answer.lower()
    assert inner.reached == ["POST"]


def test_a_link_from_another_site_may_open_the_page(port):
    assert status_of(exchange(port, request(host="localhost", sec_fetch_site="cross-site"))) == 200


def test_an_announced_body_over_the_cap_gets_413_before_it_is_read(port, inner):
    answer = exchange(port, request("POST", host="localhost", body=b"x" * 1001))
    assert status_of(answer) == 413
    assert inner.reached == []


def chunked(path: str, chunks: int, size: int) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    chunk = f"{size:x}\r\n".encode() + b"x" * size + b"\r\n"
    return head.encode() + chunk * chunks + b"0\r\n\r\n"


def test_a_body_without_a_length_is_counted(port, inner):
    assert status_of(exchange(port, chunked("/", 20, 100))) == 413
    assert inner.body_bytes <= 1000


def test_an_upload_has_its_own_cap(port):
    assert status_of(exchange(port, chunked("/api/uploads", 20, 100))) == 200
    assert status_of(exchange(port, chunked("/api/uploads", 60, 100))) == 413


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(host="localhost"), 200),
        (request(host="evil.example"), 421),
        (request(host="localhost", origin="null"), 403),
        (request("POST", host="localhost", body=b"x" * 2000), 413),
        (request(path="/crash", host="localhost"), 500),
    ],
)
def test_every_answer_carries_the_security_headers(port, raw, status):
    answer = exchange(port, raw)
    assert status_of(answer) == status
    assert [header for header in SECURITY_HEADERS if header not in answer] == []


def test_a_defect_tells_the_browser_nothing(port):
    assert b"a defect" not in exchange(port, request(path="/crash", host="localhost"))


async def handshake(port: int, **headers: str) -> str:
    """Open a websocket with exactly the given headers and return the first message, or the refusal."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    host = given.pop("host", f"localhost:{port}")
    raw = socket.create_connection(("127.0.0.1", port))
    try:
        connection = await websockets.connect(
            f"ws://{host}/_event", sock=raw, additional_headers=given, origin=None, proxy=None
        )
    except websockets.InvalidStatus as refused:
        raw.close()
        return str(refused.response.status_code)
    async with connection:
        return str(await connection.recv())


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
def test_a_websocket_of_another_origin_is_refused_before_it_opens(port, inner, origin):
    assert asyncio.run(handshake(port, origin=origin)) == "403"
    assert inner.reached == []


def test_a_websocket_without_an_origin_is_refused(port, inner):
    assert asyncio.run(handshake(port)) == "403"
    assert inner.reached == []


def test_a_websocket_to_a_foreign_host_is_refused(port, inner):
    assert asyncio.run(handshake(port, host="evil.example", origin="http://evil.example")) == "421"
    assert inner.reached == []


def test_a_websocket_of_another_site_is_refused(port, inner):
    answer = asyncio.run(handshake(port, origin=f"http://localhost:{port}", sec_fetch_site="same-site"))
    assert answer == "403"
    assert inner.reached == []


def test_a_websocket_of_our_own_page_opens(port, inner):
    assert asyncio.run(handshake(port, origin=f"http://localhost:{port}")) == "hello"
    assert inner.reached == ["websocket"]


def test_open_websockets_are_limited_and_a_closed_one_makes_room(port):
    async def three() -> list[str]:
        url, origin = f"ws://localhost:{port}/_event", f"http://localhost:{port}"

        async def one() -> websockets.ClientConnection:
            raw = socket.create_connection(("127.0.0.1", port))
            return await websockets.connect(url, sock=raw, origin=origin, proxy=None)

        first, second = await one(), await one()
        third = await handshake(port, origin=origin)
        await first.close()
        await asyncio.sleep(0.3)
        fourth = await handshake(port, origin=origin)
        await second.close()
        return [third, fourth]

    assert asyncio.run(three()) == ["429", "hello"]


def test_two_gates_check_once(inner):
    policy = Policy(body_cap_bytes=1000)
    with running(Gate(Gate(inner.app(), policy), policy)) as port:
        answer = exchange(port, request(host="localhost"))
    assert status_of(answer) == 200
    assert answer.count(b"content-security-policy:") == 1


def test_a_lone_inner_gate_guards_too(inner):
    with running(Gate(inner.app())) as port:
        assert status_of(exchange(port, request(host="evil.example"))) == 421


def test_a_defect_in_the_rules_serves_nothing(inner, monkeypatch):
    def broken(*_args: object) -> None:
        raise RuntimeError("rules are broken")

    monkeypatch.setattr("backprop_app.security.rules.check_host", broken)
    with running(Gate(inner.app())) as port:
        assert status_of(exchange(port, request(host="localhost"))) == 500
    assert inner.reached == []


def upgrade(port: int) -> bytes:
    return request(
        path="/_event",
        host=f"127.0.0.1:{port}",
        origin=f"http://127.0.0.1:{port}",
        upgrade="websocket",
        sec_websocket_version="13",
        sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==",
    ).replace(b"connection: close", b"connection: Upgrade")


def test_a_client_that_never_reads_is_let_go_and_its_queue_is_bounded(monkeypatch):
    monkeypatch.setattr("backprop_app.security.live._STALLED_S", 0.3)
    sent, ended = [0], threading.Event()
    codes: list[int] = []

    async def flood(scope, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "websocket.send", "bytes": os.urandom(100_000)})
            sent[0] += 1
        codes.append(gone.result()["code"])
        ended.set()

    with running(Gate(flood, Policy())) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(upgrade(port))
        assert ended.wait(10)
    assert codes == [4408]
    assert sent[0] < 200


def test_a_client_that_floods_is_let_go(monkeypatch):
    monkeypatch.setattr("backprop_app.security.live._BURST", 50)
    received = [0]

    async def count(scope, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            received[0] += 1

    async def flood(port: int) -> int | None:
        url, origin = f"ws://127.0.0.1:{port}/_event", f"http://127.0.0.1:{port}"
        async with websockets.connect(url, origin=origin, proxy=None) as connection:
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(1000):
                    await connection.send("x")
            await connection.wait_closed()
            return connection.close_code

    with running(Gate(count, Policy())) as port:
        assert asyncio.run(flood(port)) == 4429
    assert 50 <= received[0] < 200


def test_an_upload_that_falls_silent_is_dropped(monkeypatch, inner):
    monkeypatch.setattr("backprop_app.security.gate._SILENT_S", 0.2)
    raw = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc"
    with running(Gate(inner.app(), Policy())) as port:
        assert status_of(exchange(port, raw)) == 408


def test_an_absolute_address_does_not_replace_the_host_header(port, inner):
    raw = request(path="http://localhost/", host="evil.example")
    assert status_of(exchange(port, raw)) in {400, 421}
    assert inner.reached == []
