"""Addresses: which mean one place only, which are open, which are pages, where a login may lead."""

from __future__ import annotations

import pytest

from backprop_app.security import paths


@pytest.mark.parametrize(
    "path", ["/", "/runs", "/runs/", "/runs/3f2a-1", "/assets/app.js", "/api/runs/x/events", "/ü"]
)
def test_a_plain_address_is_clean(path):
    assert paths.is_clean(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "runs",
        "//",
        "//evil",
        "/a//b",
        "/../x",
        "/a/..",
        "/./",
        "/a/./b",
        "/a\\b",
        "/a\0b",
        "/a\nb",
        "/\x7f",
    ],
)
def test_an_address_with_two_meanings_is_not(path):
    assert not paths.is_clean(path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/login/"),
        ("GET", "/loginx"),
        ("GET", "/healthz/x"),
        ("POST", "/healthz"),
        ("GET", "/LOGIN"),
        ("PUT", "/login"),
    ],
)
def test_nothing_beside_a_public_address_is_public(method, path):
    assert not paths.is_public(method, path)


def test_the_public_addresses_are_these_and_no_more():
    assert {path for _, path in paths.PUBLIC} == {
        "/login",
        "/login/inter.woff2",
        "/logout",
        "/healthz",
        "/favicon.svg",
    }


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/runs", [(b"sec-fetch-mode", b"navigate")], True),
        ("GET", "/runs", [(b"sec-fetch-mode", b"cors"), (b"accept", b"text/html")], False),
        ("GET", "/runs", [(b"accept", b"text/html,*/*")], True),
        ("GET", "/runs", [], False),
        ("POST", "/runs", [(b"sec-fetch-mode", b"navigate")], False),
        ("GET", "/api/runs", [(b"sec-fetch-mode", b"navigate")], False),
        ("GET", "/assets/app.js", [(b"accept", b"text/html")], False),
    ],
)
def test_only_who_opens_a_page_is_led_to_the_login(method, path, headers, expected):
    assert paths.is_navigation(method, path, headers) is expected


def test_the_wanted_page_stands_in_the_address_of_the_login():
    assert paths.login_address("/runs/x", b"tab=log") == "/login?next=%2Fruns%2Fx%3Ftab%3Dlog"
    assert paths.login_address("/", b"") == "/login"
    assert paths.login_address("/runs/<img>", b"") == "/login"
