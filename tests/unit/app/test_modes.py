"""How flags decide about exposure: every combination that is not named fails closed."""

from __future__ import annotations

import pytest

from backprop_app.security.modes import Wanted, decide
from backprop_core.errors import InputError


def code_of(wanted: Wanted, *, has_credential: bool) -> str:
    with pytest.raises(InputError) as caught:
        decide(wanted, has_credential=has_credential)
    return caught.value.code


def test_the_default_is_this_machine_without_a_login():
    policy = decide(Wanted(), has_credential=False)
    assert (policy.mode, policy.require_session, policy.allowed_hosts) == ("local", False, frozenset())


def test_a_credential_turns_the_login_on_wherever_it_listens():
    assert decide(Wanted(), has_credential=True).require_session
    assert decide(Wanted(host="10.0.0.7"), has_credential=True).require_session
    assert decide(Wanted(share=True), has_credential=True).require_session


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.7", "192.168.1.5", "myhost.lan", "", "127.1", "2001:db8::1"]
)
def test_an_address_that_others_reach_needs_a_login(host):
    assert code_of(Wanted(host=host), has_credential=False) == "INPUT_AUTH_REQUIRED"


def test_sharing_and_further_names_need_a_login():
    assert code_of(Wanted(share=True), has_credential=False) == "INPUT_AUTH_REQUIRED"
    assert code_of(Wanted(allow_hosts=("a.example",)), has_credential=False) == "INPUT_AUTH_REQUIRED"


def test_the_address_and_the_named_hosts_are_served_and_nothing_else():
    policy = decide(Wanted(host="10.0.0.7", allow_hosts=("Box.lan",)), has_credential=True)
    assert policy.allowed_hosts == {"10.0.0.7", "box.lan"}
    assert decide(Wanted(host="2001:db8::1"), has_credential=True).allowed_hosts == {"2001:db8::1"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere_serves_no_further_name(host):
    assert decide(Wanted(host=host), has_credential=True).allowed_hosts == frozenset()


@pytest.mark.parametrize(
    "name", ["*", "a b", "http://a.example", "a.example:80", "0.0.0.0", "a.example.", "", "[::]"]
)
def test_a_further_name_that_is_none_is_refused(name):
    assert code_of(Wanted(allow_hosts=(name,)), has_credential=True) == "INPUT_VALIDATION_FAILED"


def test_flags_that_contradict_each_other_are_refused():
    assert code_of(Wanted(share=True, host="10.0.0.7"), has_credential=True) == "INPUT_VALIDATION_FAILED"
    assert code_of(Wanted(share_via="cloudflared"), has_credential=True) == "INPUT_VALIDATION_FAILED"
    assert code_of(Wanted(share_for="8h"), has_credential=True) == "INPUT_VALIDATION_FAILED"


def test_a_further_name_behind_a_tunnel_is_reached_over_https():
    policy = decide(Wanted(share=True, allow_hosts=("a.example",)), has_credential=True)
    assert (policy.mode, policy.tls_hosts) == ("share", {"a.example"})
    assert decide(Wanted(host="10.0.0.7"), has_credential=True).tls_hosts == frozenset()
