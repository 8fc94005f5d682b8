"""The rules of the gate: which Host, Origin, site and size a request may carry."""

from __future__ import annotations

import pytest

from backprop_app.security import rules
from backprop_app.security.rules import Host, Policy

LOCAL = Policy()


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in values.items()]


@pytest.mark.parametrize(
    ("value", "name", "port"),
    [
        ("LOCALHOST:9000", "localhost", 9000),
        ("[::1]:7860", "::1", 7860),
        ("127.0.0.1", "127.0.0.1", None),
        ("tab.localhost:1", "tab.localhost", 1),
        ("127.9.8.7:7860", "127.9.8.7", 7860),
    ],
)
def test_loopback_names_are_served_on_any_port(value: str, name: str, port: int | None) -> None:
    assert rules.check_host(headers(host=value), LOCAL) == Host(name, port)


@pytest.mark.parametrize(
    "value",
    [
        "evil.example",
        "localhost.",
        "localhost:notaport",
        "localhost:0",
        "localhost:65536",
        "user@localhost",
        "",
        "localhost:7860 ",
        "localhost/x",
        "localhost.evil.example",
        "notlocalhost",
        "[::1",
        "[fe80::1]",
        "0.0.0.0",
        "169.254.169.254",
        "localhost\\.evil",
        "lo\u00e7alhost",
        "localhost:7860:7860",
    ],
)
def test_any_other_host_is_refused(value: str) -> None:
    assert rules.check_host(headers(host=value), LOCAL) is rules.WRONG_HOST


def test_two_host_headers_are_refused() -> None:
    twice = [(b"host", b"localhost"), (b"host", b"localhost")]
    assert rules.check_host(twice, LOCAL) is rules.WRONG_HOST


def test_no_host_header_is_refused() -> None:
    assert rules.check_host([], LOCAL) is rules.WRONG_HOST


def test_a_forwarded_host_counts_for_nothing() -> None:
    given = headers(host="evil.example", x_forwarded_host="localhost")
    assert rules.check_host(given, LOCAL) is rules.WRONG_HOST


def test_a_name_that_the_operator_allowed_is_served() -> None:
    policy = Policy(mode="lan", allowed_hosts=frozenset({"gpu.lan"}))
    assert rules.check_host(headers(host="GPU.lan:7860"), policy) == Host("gpu.lan", 7860)


@pytest.mark.parametrize("origin", ["http://localhost:7860", "HTTP://LOCALHOST:7860"])
def test_the_origin_of_this_very_request_is_accepted(origin: str) -> None:
    assert rules.check_origin(headers(origin=origin), Host("localhost", 7860), "http", required=True) is None


def test_a_forwarded_port_is_its_own_origin() -> None:
    given = headers(origin="http://localhost:9000")
    assert rules.check_origin(given, Host("localhost", 9000), "http", required=True) is None


def test_the_default_port_may_be_left_out() -> None:
    given = headers(origin="http://localhost")
    assert rules.check_origin(given, Host("localhost", 80), "http", required=True) is None


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:3000",
        "https://localhost:7860",
        "http://localhost:7860/path",
        "http://localhost:7860@evil.example",
        "http://127.0.0.1:7860",
        "",
        "http://[::1",
        "file://",
    ],
)
def test_any_other_origin_is_refused(origin: str) -> None:
    given = headers(origin=origin)
    assert rules.check_origin(given, Host("localhost", 7860), "http", required=False) is rules.WRONG_ORIGIN


def test_a_missing_origin_passes_only_where_it_is_not_required() -> None:
    host = Host("localhost", 7860)
    assert rules.check_origin([], host, "http", required=False) is None
    assert rules.check_origin([], host, "http", required=True) is rules.WRONG_ORIGIN


def test_two_origins_are_refused() -> None:
    twice = [(b"origin", b"http://localhost"), (b"origin", b"http://localhost")]
    assert rules.check_origin(twice, Host("localhost", 80), "http", required=False) is rules.WRONG_ORIGIN


@pytest.mark.parametrize("site", ["same-site", "cross-site", "anything"])
def test_a_changing_request_from_another_site_is_refused(site: str) -> None:
    assert rules.check_fetch_site(headers(sec_fetch_site=site)) is rules.WRONG_ORIGIN


@pytest.mark.parametrize("given", [{}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}])
def test_a_changing_request_of_our_own_page_passes(given: dict[str, str]) -> None:
    assert rules.check_fetch_site(headers(**given)) is None


def test_an_upload_may_be_larger_than_anything_else() -> None:
    assert rules.body_cap("/api/uploads", LOCAL) == 512 << 20
    assert rules.body_cap("/api/uploads/x", LOCAL) == 512 << 20
    assert rules.body_cap("/api/uploadsx", LOCAL) == 1 << 20
    assert rules.body_cap("/", LOCAL) == 1 << 20


@pytest.mark.parametrize("length", ["11", "-1", "1e1", "0x5", ""])
def test_a_length_over_the_cap_or_that_is_no_number_is_refused(length: str) -> None:
    assert rules.check_length(headers(content_length=length), 10) is rules.TOO_LARGE


def test_a_length_at_the_cap_passes() -> None:
    assert rules.check_length(headers(content_length="10"), 10) is None


SHARED = Policy(
    mode="share",
    allowed_hosts=frozenset({"a.example"}),
    tls_hosts=frozenset({"a.example"}),
    peer_header=b"cf-connecting-ip",
)


@pytest.mark.parametrize(
    ("name", "given", "counted"),
    [
        ("a.example", {"cf_connecting_ip": "203.0.113.9"}, "tunnel 203.0.113.9"),
        ("a.example", {"cf_connecting_ip": "127.0.0.1, 203.0.113.9"}, "tunnel"),
        ("a.example", {"x_forwarded_for": "203.0.113.9"}, "tunnel"),
        ("localhost", {"cf_connecting_ip": "203.0.113.9"}, "127.0.0.1"),
    ],
)
def test_limits_count_for_whom_the_tunnel_names_and_for_nobody_else(name, given, counted):
    assert rules.visitor("127.0.0.1", headers(**given), Host(name, None), SHARED) == counted
    assert rules.visitor("127.0.0.1", headers(**given), Host(name, None), LOCAL) == "127.0.0.1"


def test_only_the_machine_itself_reaches_a_port_that_trusts_it():
    inside = Policy(mode="container", peers=frozenset({"172.18.0.1"}))
    assert rules.check_peer("172.18.0.1", inside) is None
    assert rules.check_peer("127.0.0.1", inside) is None
    assert rules.check_peer("172.18.0.7", inside) == rules.WRONG_PEER
    assert rules.check_peer("203.0.113.9", inside) == rules.WRONG_PEER
    assert rules.check_peer("203.0.113.9", LOCAL) is None
