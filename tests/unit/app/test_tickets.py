"""The signed text of a session cookie: what is taken and what is not."""

from __future__ import annotations

import base64
import json
import time

import jwt
import pytest

from backprop_app.security.tickets import LIFE_S, Tickets

KEY = bytes(range(32))
NOW = 1_800_000_000
CLAIMS = {
    "iss": "backpropagate",
    "aud": "instance",
    "sub": "mara",
    "sid": "secret",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 3600,
    "ep": 3,
}
TICKETS = Tickets(KEY, "instance")


def signed(claims: dict[str, object], headers: dict[str, str] | None = None) -> str:
    return jwt.encode(claims, KEY, algorithm="HS256", headers=headers)


def forged(header: dict[str, object], claims: dict[str, object] = CLAIMS, signature: str = "") -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)
    ]
    return ".".join([*parts, signature])


def test_what_was_issued_is_read():
    ticket = TICKETS.read(TICKETS.issue("mara", "secret", 3, now=NOW + 0.7, left_s=1e6), NOW + 1)
    assert (ticket.user, ticket.sid, ticket.issued_at, ticket.epoch) == ("mara", "secret", NOW, 3)


def test_a_ticket_lives_no_longer_than_twelve_hours_or_its_session():
    day = TICKETS.issue("mara", "secret", 3, now=NOW, left_s=1e6)
    assert TICKETS.read(day, NOW + LIFE_S) is not None
    assert TICKETS.read(day, NOW + LIFE_S + 61) is None
    short = TICKETS.issue("mara", "secret", 3, now=NOW, left_s=100)
    assert TICKETS.read(short, NOW + 161) is None


WRONG = {
    "without a signature": forged({"alg": "none", "typ": "JWT"}),
    "another algorithm": jwt.encode(CLAIMS, KEY + KEY, algorithm="HS384"),
    "the key as a public key": forged({"alg": "RS256", "typ": "JWT"}, signature="AAAA"),
    "another key": jwt.encode(CLAIMS, KEY[::-1], algorithm="HS256"),
    "no expiry": signed({key: value for key, value in CLAIMS.items() if key != "exp"}),
    "no epoch": signed({key: value for key, value in CLAIMS.items() if key != "ep"}),
    "another audience": signed(CLAIMS | {"aud": "other"}),
    "a list of audiences": signed(CLAIMS | {"aud": ["instance"]}),
    "another issuer": signed(CLAIMS | {"iss": "other"}),
    "issued in the future": signed(CLAIMS | {"iat": NOW + 3600, "exp": NOW + 7200}),
    "valid in the future": signed(CLAIMS | {"nbf": NOW + 3600}),
    "a far expiry": signed(CLAIMS | {"exp": 10**30}),
    "more than twelve hours": signed(CLAIMS | {"exp": NOW + LIFE_S + 1}),
    "over": signed(CLAIMS | {"iat": NOW - 7200, "nbf": NOW - 7200, "exp": NOW - 3600}),
    "expiry as a float": signed(CLAIMS | {"exp": NOW + 1.5}),
    "epoch as text": signed(CLAIMS | {"ep": "3"}),
    "epoch as a truth": signed(CLAIMS | {"ep": True}),
    "a critical extension": signed(CLAIMS, {"crit": ["x"], "x": "1"}),
    "a key id": signed(CLAIMS, {"kid": "../x"}),
    "a megabyte": "eyJ" + "A" * 1_000_000,
    "deep nesting": forged({"alg": "HS256", "typ": "JWT"}) + "[" * 900,
    "not text": "\x00\xff.\x00.\x00",
    "nothing": "",
    "dots": "..",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_ticket_is_refused_that_is(name):
    start = time.perf_counter()
    assert TICKETS.read(WRONG[name], NOW) is None
    assert time.perf_counter() - start < 0.5


def test_no_last_character_can_be_changed():
    ticket = TICKETS.issue("mara", "secret", 3, now=NOW, left_s=1e6)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [ticket[:-1] + char for char in alphabet if char != ticket[-1]]
    # The last character of a 32-byte signature carries four bits; the same bits are the same signature.
    taken = [other for other in others if TICKETS.read(other, NOW) is not None]
    assert len(taken) <= 3


def test_a_short_key_signs_nothing():
    with pytest.raises(ValueError, match="too short"):
        Tickets(b"short", "instance")
