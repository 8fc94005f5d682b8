"""Five wrong passwords a minute, twelve an hour, per account and address."""

from __future__ import annotations

import pytest

from backprop_core.auth.limiter import ACCOUNT_RULES, GLOBAL_RULES, Limiter, wait_s
from backprop_core.auth.store import AuthStore

NOW = 1_000_000.0


@pytest.fixture
def store(tmp_path):
    store = AuthStore(tmp_path)
    yield store
    store.close()


def test_four_failures_wait_for_nothing_and_five_for_the_rest_of_the_minute():
    assert wait_s([NOW - 10] * 4, NOW, ACCOUNT_RULES) == 0
    assert wait_s([NOW - 10] * 5, NOW, ACCOUNT_RULES) == 50


def test_twelve_failures_spread_over_an_hour_wait_for_the_oldest():
    times = [NOW - 600 - 120 * n for n in range(12)]
    assert wait_s(times, NOW, ACCOUNT_RULES) == 3600 - (600 + 120 * 11)


def test_failures_outside_every_window_do_not_count():
    assert wait_s([NOW - 3601] * 50, NOW, ACCOUNT_RULES) == 0


def test_a_clock_that_was_set_back_frees_nobody_and_locks_nobody_for_long():
    assert wait_s([NOW + 1000] * 5, NOW, ACCOUNT_RULES) == 60


def test_the_sixth_attempt_is_refused_and_the_window_frees_it(store):
    limiter = Limiter(store)
    left = [limiter.admit("mara", "::1", NOW + n).left for n in range(5)]
    assert left == [4, 3, 2, 1, 0]
    assert limiter.admit("mara", "::1", NOW + 5).wait_s == 55
    assert limiter.admit("mara", "::1", NOW + 61).wait_s == 0


def test_another_account_and_another_address_are_not_held_up(store):
    limiter = Limiter(store)
    for n in range(6):
        limiter.admit("mara", "::1", NOW + n)
    assert limiter.admit("bob", "::1", NOW + 6).wait_s == 0
    assert limiter.admit("mara", "10.0.0.7", NOW + 6).wait_s == 0


def test_the_limit_survives_a_restart(store, tmp_path):
    for n in range(5):
        Limiter(store).admit("mara", "::1", NOW + n)
    again = AuthStore(tmp_path)
    assert Limiter(again).admit("mara", "::1", NOW + 6).wait_s > 0
    again.close()


def test_a_success_clears_the_account(store):
    limiter = Limiter(store)
    for n in range(4):
        limiter.admit("mara", "::1", NOW + n)
    limiter.succeeded("mara", "::1")
    assert limiter.admit("mara", "::1", NOW + 5).left == 4


def test_all_accounts_together_have_a_wider_limit(store):
    limiter = Limiter(store)
    for n in range(GLOBAL_RULES[0].count):
        assert limiter.admit(f"user{n}", "::1", NOW).wait_s == 0
    assert limiter.admit("mara", "10.0.0.7", NOW).wait_s == 60


def test_no_user_name_is_kept(store, tmp_path):
    Limiter(store).admit("my-password-by-mistake", "::1", NOW)
    raw = b"".join(path.read_bytes() for path in (tmp_path / "secrets").iterdir())
    assert b"my-password-by-mistake" not in raw
