"""Sessions, tokens, the signing key and the audit log on disk."""

from __future__ import annotations

import json
import stat

import pytest

from backprop_core.auth import secret_files
from backprop_core.auth.audit import MAX_BYTES, AuditLog
from backprop_core.auth.credential import Credential
from backprop_core.auth.store import IDLE_S, LIFE_S, AuthStore, digest
from backprop_core.errors import StateError
from tests.support.clocks import SteppedClock

MARA = Credential("mara", "correct horse")
NOW = 1_000_000.0


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A home with a stored credential; hashing once is enough for the whole file."""
    home = tmp_path_factory.mktemp("seeded")
    store = AuthStore(home)
    store.set_account("stored", MARA)
    yield home, store
    store.close()


@pytest.fixture
def store(seeded):
    store = seeded[1]
    store.end_all_sessions()
    return store


def opened(store, now=NOW):
    sid = store.open_session(store.account("stored"), now=now, agent="a browser", peer="127.0.0.1")
    return digest(sid)


def test_a_session_lives_until_it_is_ended(store):
    sid_hash = opened(store)
    assert store.session(sid_hash, "stored", NOW).user == "mara"
    store.end_session(sid_hash)
    assert store.session(sid_hash, "stored", NOW) is None


def test_a_session_dies_after_twelve_hours_without_use(store):
    sid_hash = opened(store)
    assert store.session(sid_hash, "stored", NOW + IDLE_S - 1) is not None
    assert store.session(sid_hash, "stored", NOW + IDLE_S + 1) is None


def test_a_session_in_use_dies_after_seven_days(store):
    sid_hash = opened(store)
    for hour in range(0, 7 * 24, 6):
        store.touch(sid_hash, NOW + hour * 3600)
    assert store.session(sid_hash, "stored", NOW + LIFE_S - 1) is not None
    store.touch(sid_hash, NOW + LIFE_S)
    assert store.session(sid_hash, "stored", NOW + LIFE_S + 1) is None


def test_a_session_belongs_to_one_kind_of_credential(store):
    assert store.session(opened(store), "given", NOW) is None


def test_no_secret_of_a_session_or_token_is_on_disk(seeded):
    home, store = seeded
    sid = store.open_session(store.account("stored"), now=NOW, agent="", peer="")
    _, token = store.create_token("script", NOW)
    raw = b"".join(path.read_bytes() for path in (home / "secrets").iterdir())
    assert sid.encode() not in raw
    assert token.encode() not in raw
    assert b"correct horse" not in raw


def test_a_token_works_until_it_is_revoked(store):
    token, secret = store.create_token("nightly", NOW)
    assert store.token(secret).name == "nightly"
    assert secret.startswith("bp_")
    assert store.revoke_token(token.token_id)
    assert store.token(secret) is None
    assert not store.revoke_token(token.token_id)


def test_all_sessions_end_at_once(store):
    hashes = [opened(store), opened(store)]
    assert store.end_all_sessions() == 2
    assert [store.session(sid_hash, "stored", NOW) for sid_hash in hashes] == [None, None]


def test_a_new_password_ends_every_session_and_the_same_one_none(tmp_path):
    store = AuthStore(tmp_path)
    first = store.set_account("stored", MARA)
    sid_hash = opened(store)
    assert store.set_account("stored", MARA) == first
    assert store.session(sid_hash, "stored", NOW) is not None
    assert store.set_account("stored", Credential("mara", "another one")).epoch > first.epoch
    assert store.session(sid_hash, "stored", NOW) is None
    store.close()


def test_removing_the_credential_ends_its_sessions(tmp_path):
    store = AuthStore(tmp_path)
    store.set_account("stored", MARA)
    sid_hash = opened(store)
    assert store.remove_account("stored")
    assert store.session(sid_hash, "stored", NOW) is None
    store.close()


def test_a_change_by_another_process_is_seen(seeded):
    home, store = seeded
    before, other = store.changes(), AuthStore(home)
    assert store.changes() == before
    other.end_all_sessions()
    other.create_token("x", NOW)
    other.close()
    assert store.changes() != before


def test_sessions_survive_a_restart(seeded):
    home, store = seeded
    sid_hash = opened(store)
    again = AuthStore(home)
    assert again.session(sid_hash, "stored", NOW) is not None
    assert again.instance == store.instance
    again.close()


def test_files_and_folder_are_for_the_user_alone(seeded):
    home, _ = seeded
    secret_files.signing_key(home / "secrets")
    assert stat.S_IMODE((home / "secrets").stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home / "secrets").iterdir()}
    assert modes == {0o600}


def test_a_folder_of_secrets_that_others_may_enter_is_refused(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o755)
    with pytest.raises(StateError) as caught:
        AuthStore(tmp_path)
    assert "chmod 700" in caught.value.hint


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "auth.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StateError) as caught:
        AuthStore(tmp_path)
    assert caught.value.code == "STATE_STORE_INVALID"


def test_a_lost_or_cut_key_is_replaced_and_a_whole_one_kept(tmp_path):
    key = secret_files.signing_key(tmp_path)
    assert secret_files.signing_key(tmp_path) == key
    (tmp_path / "session.key").write_bytes(key[:31])
    second = secret_files.signing_key(tmp_path)
    (tmp_path / "session.key").unlink()
    third = secret_files.signing_key(tmp_path)
    assert len({key, second, third}) == 3
    assert {len(second), len(third)} == {32}


def test_a_key_that_others_can_read_is_refused(tmp_path):
    secret_files.signing_key(tmp_path)
    (tmp_path / "session.key").chmod(0o644)
    with pytest.raises(StateError) as caught:
        secret_files.signing_key(tmp_path)
    assert "0644" in caught.value.message


def test_the_audit_log_has_one_line_per_act_and_no_control_character(tmp_path):
    log = AuditLog(tmp_path, SteppedClock())
    log.write("login", user="mara\n{}", peer="10.0.0.7")
    log.write("run.stop", user="mara", peer="10.0.0.7", run_id="ab12")
    first, second = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert (first["action"], first["user"], first["peer"]) == ("login", "mara\n{}", "10.0.0.7")
    assert second["run_id"] == "ab12"
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_a_secret_in_a_name_is_redacted_in_the_audit_log(tmp_path):
    log = AuditLog(tmp_path, SteppedClock())
    log.write("run.start", user="mara", peer="", name="hf_abcdefghijklmnop")
    assert "hf_abcdefghijklmnop" not in log.path.read_text()


def test_a_full_audit_log_is_kept_beside_a_new_one(tmp_path):
    log = AuditLog(tmp_path, SteppedClock())
    log.write("login", user="mara", peer="")
    with log.path.open("ab") as stream:
        stream.write(b"x" * MAX_BYTES)
    log.write("logout", user="mara", peer="")
    log.write("login", user="mara", peer="")
    assert log.path.stat().st_size < 1000
    assert log.path.with_suffix(".1.jsonl").stat().st_size > MAX_BYTES
