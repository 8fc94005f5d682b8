"""The login over real sockets: what a stranger gets, how one signs in, stays in and gets out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest
import websockets

from backprop_app.security.gate import Gate
from backprop_app.security.rules import Policy
from backprop_core.auth.credential import Credential
from backprop_core.auth.store import AuthStore
from backprop_core.services.access import create_token, log_out_all, revoke_token, set_password
from tests.integration.test_gate import SECURITY_HEADERS, Inner
from tests.support.asgi_server import exchange, request, running, status_of
from tests.support.clocks import SteppedClock
from tests.support.logins import PASSWORD, USER, Visitor, access_at

POLICY = Policy(require_session=True, max_session_sockets=3)


@pytest.fixture(scope="module", autouse=True)
def cheap_hashes():
    """Hash with little memory: how much it costs is tested elsewhere, and here it would be minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backprop_core.auth.passwords.MEMORY_KIB", 256)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory, cheap_hashes):
    return tmp_path_factory.mktemp("login")


@pytest.fixture(scope="module")
def server(home):
    """One gate with a login for the tests that do not change it."""
    inner = Inner()
    with running(Gate(inner.app(), POLICY, access=access_at(home))) as port:
        yield inner, port


@pytest.fixture
def access(home):
    """Start with no failed login."""
    with contextlib.closing(AuthStore(home)) as store, store.attempts() as connection:
        connection.execute("DELETE FROM attempts")
    return access_at(home)


@pytest.fixture
def inner(server):
    server[0].reached.clear()
    return server[0]


@pytest.fixture
def port(server, access):
    return server[1]


@pytest.fixture
def visitor(port):
    visitor = Visitor(port)
    yield visitor
    visitor.close()


@pytest.fixture
def signed_in(visitor):
    assert visitor.log_in().status_code == 303
    return visitor


def audit_lines(home):
    return [json.loads(line) for line in (home / "logs" / "audit.jsonl").read_text().splitlines()]


# A stranger


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/assets/app.js"),
        ("GET", "/_upload/x"),
        ("POST", "/_upload"),
        ("GET", "/_health"),
        ("GET", "/ping"),
        ("GET", "/api/runs"),
        ("DELETE", "/api/runs/x"),
        ("GET", "/v1/models"),
        ("GET", "/session"),
        ("POST", "/session"),
        ("OPTIONS", "/"),
        ("GET", "/no/such/page"),
        ("GET", "/login/"),
        ("GET", "/login/x"),
        ("GET", "/healthz/"),
        ("POST", "/healthz"),
    ],
)
def test_a_stranger_gets_401_and_nothing_behind_the_gate_is_reached(visitor, inner, method, path):
    answer = visitor.http.request(method, path, headers={"accept": "*/*"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "INPUT_AUTH_REQUIRED"
    assert inner.reached == []


@pytest.mark.parametrize(
    "path", ["/healthz/../api/runs", "/login/..%2fapi/runs", "/./", "//", "/api\\x", "/a%00b"]
)
def test_an_address_with_two_meanings_is_refused(port, inner, path):
    assert status_of(exchange(port, request(path=path, host="localhost"))) in {400, 401}
    assert inner.reached == []


def test_a_stranger_who_opens_a_page_is_led_to_the_login_and_back(visitor):
    answer = visitor.http.get("/runs/ab12?tab=log", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fruns%2Fab12%3Ftab%3Dlog")
    assert visitor.log_in(next_page="/runs/ab12?tab=log").headers["location"] == "/runs/ab12?tab=log"


@pytest.mark.parametrize("path", ["/login", "/login/inter.woff2", "/healthz", "/favicon.svg"])
def test_a_stranger_gets_what_the_login_page_needs_and_the_health(visitor, path):
    assert visitor.http.get(path).status_code == 200


def test_the_login_page_asks_for_nothing_else(visitor):
    page = visitor.http.get("/login").text
    wanted = set(re.findall(r'(?:src|href|action)="([^"]+)"|url\("([^"]+)"\)', page))
    assert {a or b for a, b in wanted} == {"/favicon.svg", "/login", "/login/inter.woff2"}
    assert "<script" not in page


def test_a_stranger_cannot_tell_the_version(visitor):
    from backprop_core.version import __version__

    for path in ("/login", "/healthz", "/", "/api/runs"):
        answer = visitor.http.get(path)
        assert __version__ not in answer.text
        assert "server" not in answer.headers or answer.headers["server"] == "uvicorn"


# Signing in


def test_the_right_pair_opens_the_page(visitor, inner):
    answer = visitor.log_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert visitor.http.get("/").text == "page"
    assert inner.reached == ["GET"]


def test_a_wrong_password_and_an_unknown_user_get_the_same_words(visitor):
    wrong = visitor.log_in(password="not the one")
    unknown = visitor.log_in(user="bob", password="not the one")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert "User and password do not match. 4 tries left this minute." in wrong.text
    assert "User and password do not match. 4 tries left this minute." in unknown.text
    assert visitor.http.get("/api/runs").status_code == 401


def test_what_was_typed_comes_back_as_text_and_the_password_never(visitor):
    answer = visitor.log_in(user='"><img src=x onerror=alert(1)>', password="never-shown-again")
    assert "<img" not in answer.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text
    assert "never-shown-again" not in answer.text


def test_the_cookie_is_for_this_site_alone_and_no_script(visitor):
    cookie = next(
        value
        for value in visitor.log_in().headers.get_list("set-cookie")
        if value.startswith("backprop_session=")
    )
    flags = {part.strip() for part in cookie.split(";")[1:]}
    assert flags == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}


def test_under_https_the_cookie_is_secure_and_bound_to_the_host(inner, access):
    policy = Policy(
        mode="share",
        require_session=True,
        allowed_hosts=frozenset({"a.example"}),
        tls_hosts=frozenset({"a.example"}),
    )
    with running(Gate(inner.app(), policy, access=access)) as port:
        given = {"host": "a.example", "origin": "https://a.example"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            form = client.get("/login", headers=given)
            form_cookie = form.headers["set-cookie"].split(";")[0]
            token = re.search(r'name="token" value="([^"]+)"', form.text)[1]
            answer = client.post(
                "/login",
                data={"token": token, "user": USER, "password": PASSWORD},
                headers=given | {"cookie": form_cookie},
            )
    cookie = next(v for v in answer.headers.get_list("set-cookie") if "session=" in v)
    assert form_cookie.startswith("__Host-backprop_form=")
    assert cookie.startswith("__Host-backprop_session=")
    assert {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_a_login_over_http_does_not_count_on_the_https_name(signed_in, inner, access):
    policy = Policy(
        mode="share",
        require_session=True,
        allowed_hosts=frozenset({"a.example"}),
        tls_hosts=frozenset({"a.example"}),
    )
    with running(Gate(inner.app(), policy, access=access)) as port:
        answer = exchange(port, request(path="/api/x", host="a.example", cookie=signed_in.cookie))
    assert status_of(answer) == 401


def test_a_form_that_we_did_not_give_is_refused(visitor):
    fields = visitor.form() | {"user": USER, "password": PASSWORD}
    assert visitor.post("/login", data=fields | {"token": "x"}).status_code == 403
    assert visitor.post("/login", data={"user": USER, "password": PASSWORD}).status_code == 403
    visitor.http.cookies.clear()
    assert visitor.post("/login", data=fields).status_code == 403


@pytest.mark.parametrize("body", [b"{}", b"\xff\xfe", b"a=1&" * 20, b"user=x"])
def test_a_body_that_is_no_form_is_refused(visitor, body):
    answer = visitor.http.post("/login", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


def test_a_huge_form_is_refused(visitor):
    assert visitor.post("/login", data={"password": "x" * 20_000}).status_code == 413


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "/..//evil.example",
        "%2f%2fevil.example",
        "/%2f%2fevil.example",
        "https:evil.example",
        "https://evil.example/",
        "/\tevil",
        "\t//evil.example",
        "/./\\evil",
        "/login?next=/x",
        "/logout",
        "/session",
        "javascript:alert(1)",
        "/" + "a" * 600,
    ],
)
def test_after_the_login_nobody_lands_elsewhere(visitor, wanted):
    fields = visitor.form() | {"user": USER, "password": PASSWORD, "next": wanted}
    assert visitor.post("/login", data=fields).headers["location"] == "/"


@pytest.mark.parametrize("wanted", ["/runs", "/runs/", "/runs/3f2a-1", "/runs?search=a%20b&page=2", "/"])
def test_after_the_login_the_wanted_page_opens(visitor, wanted):
    assert visitor.log_in(next_page=wanted).headers["location"] == wanted


@pytest.mark.parametrize("password", ["with:colons::", "🔑" * 6, " leading space", "x" * 1024])
def test_any_password_up_to_a_kilobyte_works(tmp_path, inner, password):
    with running(Gate(inner.app(), POLICY, access=access_at(tmp_path, password=password))) as port:
        visitor = Visitor(port)
        assert visitor.log_in(password=password).status_code == 303
        visitor.http.cookies.clear()
        assert visitor.log_in(password=password.strip() + "x").status_code == 401
        visitor.close()


@pytest.mark.parametrize("password", ["nul\0inside", "x" * 1025])
def test_an_impossible_password_is_a_wrong_one(visitor, password):
    assert visitor.log_in(password=password).status_code == 401


# The limiter


def test_the_sixth_try_in_a_minute_is_refused_even_if_right(visitor, home, inner):
    for _ in range(5):
        assert visitor.log_in(password="not the one").status_code == 401
    answer = visitor.log_in()
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert visitor.log_in(user="bob", password="not the one").status_code == 401
    with running(Gate(inner.app(), POLICY, access=access_at(home))) as again:
        restarted = Visitor(again)
        assert restarted.log_in().status_code == 429
        restarted.close()


def test_no_hash_runs_for_a_try_that_the_limiter_refuses(visitor, monkeypatch):
    for _ in range(5):
        visitor.log_in(password="not the one")
    monkeypatch.setattr("backprop_app.security.access.verify_password", lambda *_: pytest.fail("hashed"))
    assert visitor.log_in().status_code == 429


def test_right_after_the_window_the_right_password_works(inner, home, access):
    clock = SteppedClock()
    with running(Gate(inner.app(), POLICY, access=access_at(home, clock), clock=clock)) as port:
        visitor = Visitor(port)
        for _ in range(5):
            visitor.log_in(password="not the one")
        assert visitor.log_in().status_code == 429
        clock.advance(61)
        assert visitor.log_in().status_code == 303
        visitor.close()


def test_fifty_logins_at_once_hash_two_at_a_time_and_hold_up_nobody(port, monkeypatch):
    from backprop_app.security import access as module

    running_now, most = [0], [0]

    def counted(password: str, phc: str) -> bool:
        running_now[0] += 1
        most[0] = max(most[0], running_now[0])
        time.sleep(0.05)
        running_now[0] -= 1
        return False

    monkeypatch.setattr(module, "verify_password", counted)

    def attempt(number: int) -> int:
        visitor = Visitor(port)
        try:
            return visitor.log_in(user=f"user{number}", password="not the one").status_code
        finally:
            visitor.close()

    answered_meanwhile = 0
    with ThreadPoolExecutor(50) as pool:
        futures = [pool.submit(attempt, number) for number in range(50)]
        while not all(future.done() for future in futures):
            raw = request(path="/login/inter.woff2", host="localhost")
            assert status_of(exchange(port, raw)) == 200
            answered_meanwhile += 1
    assert {future.result() for future in futures} == {401}
    assert most[0] == 2
    assert answered_meanwhile > 3


def test_a_wrong_name_costs_the_same_hash_as_a_wrong_password(visitor, monkeypatch):
    from backprop_app.security import access as module

    hashed = []
    original = module.verify_password
    monkeypatch.setattr(module, "verify_password", lambda *a: hashed.append(1) or original(*a))
    visitor.log_in(password="not the one")
    visitor.log_in(user="bob", password="not the one")
    visitor.log_in(user="bob", password="nul\0inside")
    assert len(hashed) == 3


# Sessions


def test_each_login_gives_a_new_session_and_ends_the_one_that_came_along(signed_in):
    old = signed_in.http.cookies["backprop_session"]
    form = signed_in.http.get("/login")
    assert form.status_code == 303
    fresh = Visitor(signed_in.http.base_url.port)
    fields = fresh.form() | {"user": USER, "password": PASSWORD}
    fresh.http.cookies.set("backprop_session", old)
    assert fresh.post("/login", data=fields).status_code == 303
    new = fresh.http.cookies.get("backprop_session", domain="127.0.0.1")
    assert new not in {None, old}
    assert signed_in.http.get("/api/x").status_code == 401
    fresh.close()


def test_a_logout_ends_the_session_on_the_server(signed_in):
    cookie = signed_in.cookie
    port = signed_in.http.base_url.port
    assert status_of(exchange(port, request(path="/api/x", host="localhost", cookie=cookie))) == 200
    answer = signed_in.post("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "backprop_session=;" in answer.headers["set-cookie"]
    assert status_of(exchange(port, request(path="/api/x", host="localhost", cookie=cookie))) == 401
    assert asyncio.run(handshake(port, cookie)) == "401"


def test_a_get_logs_nobody_out(signed_in):
    signed_in.http.get("/logout")
    assert signed_in.http.get("/api/x").status_code == 200


def test_a_restart_keeps_sessions_and_their_ends(signed_in, home, inner):
    other = Visitor(signed_in.http.base_url.port)
    other.log_in()
    ended = other.cookie
    other.post("/logout")
    with running(Gate(inner.app(), POLICY, access=access_at(home))) as port:
        assert (
            status_of(exchange(port, request(path="/api/x", host="localhost", cookie=signed_in.cookie)))
            == 200
        )
        assert status_of(exchange(port, request(path="/api/x", host="localhost", cookie=ended))) == 401
    other.close()


def test_a_lost_key_ends_every_session(signed_in, home, inner):
    (home / "secrets" / "session.key").unlink()
    with running(Gate(inner.app(), POLICY, access=access_at(home))) as port:
        assert (
            status_of(exchange(port, request(path="/api/x", host="localhost", cookie=signed_in.cookie)))
            == 401
        )


def test_a_forged_cookie_opens_nothing_and_breaks_nothing(port, home):
    key = (home / "secrets" / "session.key").read_bytes()
    now = int(time.time())
    claims = {
        "iss": "backpropagate",
        "sub": USER,
        "sid": "x",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "ep": 1,
    }
    forged = [
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, key + key, algorithm="HS384"),
        jwt.encode(claims | {"aud": access_at(home)._store.instance}, key, algorithm="HS256"),
        jwt.encode(claims | {"exp": 10**30}, key, algorithm="HS256"),
        jwt.encode(claims, key, algorithm="HS256", headers={"kid": "../x"}),
        "eyJ" + "A" * 30_000,
        "a.b.c",
        "=;=",
    ]
    for text in forged:
        raw = request(path="/api/x", host="localhost", cookie=f"backprop_session={text}")
        assert status_of(exchange(port, raw)) == 401
    raw = request(path="/api/x", host="localhost", cookie="backprop_session=" + "A" * 1_000_000)
    assert exchange(port, raw)[:12] not in {b"HTTP/1.1 200", b"HTTP/1.1 500"}


def test_a_night_on_the_page_keeps_the_session_by_its_hourly_fetch(home, inner, access):
    clock = SteppedClock()
    with running(Gate(inner.app(), POLICY, access=access_at(home, clock), clock=clock)) as port:
        visitor = Visitor(port)
        visitor.log_in()
        renewed = 0
        for _ in range(20):
            clock.advance(3600)
            answer = visitor.post("/session")
            assert answer.json() == {"user": USER}
            renewed += "set-cookie" in answer.headers
        assert renewed == 3
        clock.advance(13 * 3600)
        assert visitor.post("/session").status_code == 401
        visitor.close()


def test_no_use_prolongs_a_session_beyond_seven_days(home, inner, access):
    clock = SteppedClock()
    with running(Gate(inner.app(), POLICY, access=access_at(home, clock), clock=clock)) as port:
        visitor = Visitor(port)
        visitor.log_in()
        hours = 0
        while visitor.post("/session").status_code == 200:
            clock.advance(6 * 3600)
            hours += 6
        assert hours == 7 * 24
        visitor.close()


# Open websockets


async def connect(port: int, cookie: str, query: str = "") -> websockets.ClientConnection:
    raw = socket.create_connection(("127.0.0.1", port))
    return await websockets.connect(
        f"ws://127.0.0.1:{port}/_event{query}",
        sock=raw,
        origin=f"http://127.0.0.1:{port}",
        additional_headers={"cookie": cookie} if cookie else {},
        proxy=None,
    )


async def handshake(port: int, cookie: str, query: str = "") -> str:
    try:
        connection = await connect(port, cookie, query)
    except websockets.InvalidStatus as refused:
        return str(refused.response.status_code)
    async with connection:
        return str(await connection.recv())


async def close_code(port: int, cookie: str, act) -> tuple[int, float]:
    """Open a socket, do something elsewhere, and return how and after how long it was closed."""
    connection = await connect(port, cookie)
    assert await connection.recv() == "hello"
    await asyncio.to_thread(act)
    start = time.monotonic()
    with pytest.raises(websockets.ConnectionClosed):
        await asyncio.wait_for(connection.recv(), 5)
    return connection.close_code, time.monotonic() - start


def test_a_websocket_without_a_session_is_refused_before_it_opens(port, inner):
    assert asyncio.run(handshake(port, "")) == "401"
    assert asyncio.run(handshake(port, "backprop_session=eyJhbGciOiJub25lIn0.e30.")) == "401"
    assert inner.reached == []


def test_a_websocket_with_a_session_opens(signed_in, port):
    assert asyncio.run(handshake(port, signed_in.cookie)) == "hello"


def test_a_logout_closes_open_websockets(signed_in, port):
    code, seconds = asyncio.run(close_code(port, signed_in.cookie, lambda: signed_in.post("/logout")))
    assert (code, seconds < 2) == (4401, True)


def test_a_logout_of_all_from_the_terminal_closes_open_websockets(signed_in, port, home):
    code, seconds = asyncio.run(close_code(port, signed_in.cookie, lambda: log_out_all(home)))
    assert (code, seconds < 2) == (4401, True)


def test_a_new_password_ends_every_session_and_its_websockets(tmp_path, inner):
    with running(Gate(inner.app(), POLICY, access=access_at(tmp_path))) as port:
        visitor = Visitor(port)
        visitor.log_in()

        def change() -> None:
            set_password(tmp_path, Credential(USER, "another password"))

        code, seconds = asyncio.run(close_code(port, visitor.cookie, change))
        assert (code, seconds < 2) == (4401, True)
        assert visitor.http.get("/api/x").status_code == 401
        visitor.http.cookies.clear()
        assert visitor.log_in().status_code == 401
        assert visitor.log_in(password="another password").status_code == 303
        visitor.close()


@pytest.mark.parametrize("set_back", [0, 30 * 24 * 3600])
def test_a_websocket_ends_with_its_session_whatever_the_wall_clock_says(home, inner, access, set_back):
    clock = SteppedClock()
    with running(Gate(inner.app(), POLICY, access=access_at(home, clock), clock=clock)) as port:
        visitor = Visitor(port)
        visitor.log_in()

        def night() -> None:
            clock.set_back(set_back)
            clock.advance(12 * 3600 + 1)

        code, seconds = asyncio.run(close_code(port, visitor.cookie, night))
        visitor.close()
    assert (code, seconds < 2) == (4401, True)


def test_one_session_has_only_so_many_websockets(signed_in, port):
    async def four() -> list[str]:
        opened = [await connect(port, signed_in.cookie) for _ in range(3)]
        fourth = await handshake(port, signed_in.cookie)
        for connection in opened:
            await connection.close()
        await asyncio.sleep(0.3)
        return [fourth, await handshake(port, signed_in.cookie)]

    assert asyncio.run(four()) == ["429", "hello"]


def test_the_state_of_a_tab_belongs_to_the_session_that_used_it_first(signed_in, port):
    other = Visitor(port)
    other.log_in()
    assert asyncio.run(handshake(port, signed_in.cookie, "?token=tab-1")) == "hello"
    assert asyncio.run(handshake(port, other.cookie, "?token=tab-1")) == "403"
    signed_in.post("/logout")
    assert asyncio.run(handshake(port, other.cookie, "?token=tab-1")) == "hello"
    other.close()


# Tokens of scripts


def bearer(port: int, path: str, secret: str, **headers: str) -> int:
    return status_of(
        exchange(port, request(path=path, host="localhost", authorization=f"Bearer {secret}", **headers))
    )


def test_a_token_opens_the_api_and_nothing_else(port, home):
    _, secret = create_token(home, "nightly")
    assert bearer(port, "/api/runs", secret) == 200
    assert bearer(port, "/v1/models", secret) == 200
    for path in ("/", "/assets/app.js", "/_upload/x", "/api", "/session"):
        assert bearer(port, path, secret) in {401, 303}


def test_a_revoked_or_wrong_token_opens_nothing_even_beside_a_session(signed_in, port, home):
    token, secret = create_token(home, "nightly")
    revoke_token(home, token.token_id)
    assert bearer(port, "/api/runs", secret) == 401
    assert bearer(port, "/api/runs", "bp_wrong") == 401
    assert bearer(port, "/api/runs", "bp_wrong", cookie=signed_in.cookie) == 401
    assert bearer(port, "/api/runs", "x" * 5000) == 401


def test_basic_authentication_opens_nothing(port):
    import base64

    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    answer = exchange(port, request(path="/api/runs", host="localhost", authorization=f"Basic {pair}"))
    assert status_of(answer) == 401


# What is said and kept


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(path="/", host="localhost", accept="text/html"), 303),
        (request(path="/api/x", host="localhost"), 401),
        (request(path="/login", host="localhost"), 200),
        (request("POST", "/login", host="localhost", content_type="x/y", body=b"x"), 400),
        (request("PUT", "/login", host="localhost"), 401),
    ],
)
def test_every_answer_of_the_login_carries_the_security_headers(port, raw, status):
    answer = exchange(port, raw)
    assert status_of(answer) == status
    assert [header for header in SECURITY_HEADERS if header not in answer] == []


def test_the_429_carries_the_security_headers(visitor):
    for _ in range(5):
        visitor.log_in(password="not the one")
    answer = visitor.log_in()
    raw = "\r\n".join(f"{name}: {value}" for name, value in answer.headers.items()).encode()
    assert [header for header in SECURITY_HEADERS if header not in raw] == []


def test_the_app_behind_the_gate_sees_who_it_is_and_no_secret(access, port):
    seen = {}

    async def app(scope, receive, send):
        seen.update({name.decode(): value.decode() for name, value in scope["headers"]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with running(Gate(app, POLICY, access=access)) as own:
        visitor = Visitor(own, **{"x-backpropagate-user": "admin"})
        visitor.log_in()
        visitor.http.get("/api/x")
        visitor.close()
    assert seen["x-backpropagate-user"] == USER
    assert {"cookie", "authorization"}.isdisjoint(seen)


def test_the_audit_log_names_user_and_address_and_never_a_secret(visitor, home):
    (home / "logs" / "audit.jsonl").unlink(missing_ok=True)
    visitor.log_in(password="not the one at all")
    visitor.log_in()
    cookie = visitor.http.cookies["backprop_session"]
    visitor.post("/logout")
    lines = audit_lines(home)
    assert [line["action"] for line in lines] == ["login.refused", "login", "logout"]
    assert {(line["user"], line["peer"]) for line in lines} == {(USER, "127.0.0.1")}
    text = (home / "logs" / "audit.jsonl").read_text()
    assert all(secret not in text for secret in ("not the one at all", PASSWORD, cookie))


def test_a_gate_that_needs_a_session_does_not_start_without_a_login(inner):
    with pytest.raises(ValueError, match="who may have one"):
        Gate(inner.app(), POLICY)


def test_a_gate_that_nobody_prepared_finds_the_login_of_the_environment(inner, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_UI__AUTH", f"{USER}:{PASSWORD}")
    with running(Gate(inner.app())) as port:
        assert status_of(exchange(port, request(path="/api/x", host="localhost"))) == 401
    assert inner.reached == []


def test_a_gate_that_nobody_prepared_serves_nothing_when_the_login_cannot_be_used(inner, monkeypatch):
    monkeypatch.setenv("BACKPROPAGATE_UI__AUTH", "no-colon")
    with running(Gate(inner.app())) as port:
        assert status_of(exchange(port, request(host="localhost"))) == 500
    assert inner.reached == []
