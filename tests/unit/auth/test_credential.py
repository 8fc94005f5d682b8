"""The shape of a credential, what is refused as weak, and where one comes from."""

from __future__ import annotations

import os

import pytest

from backprop_core.auth.credential import check_credential, parse_credential, weakness
from backprop_core.auth.passwords import hash_password, verify_password
from backprop_core.auth.sources import given_credential
from backprop_core.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "u:",
        ":p",
        "u",
        ":secret-word",
        "u:12345",
        "u:\0secret",
        "u:" + "x" * 1025,
        "a\nb:secret-word",
    ],
)
def test_a_credential_of_another_shape_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_credential(text, "--auth")
    assert caught.value.code == "INPUT_AUTH_INVALID_SHAPE"


@pytest.mark.parametrize(
    "text", ["admin:admin", "Admin:ADMIN", "user:password", "mara:123456", "same-name:same-name"]
)
def test_a_well_known_pair_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_credential(text, "--auth")
    assert caught.value.code == "INPUT_AUTH_INVALID_SHAPE"


def test_a_refusal_never_repeats_the_password():
    with pytest.raises(InputError) as caught:
        parse_credential("u:a\0secret-word", "--auth")
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("mara:with:colons:", "with:colons:"),
        ("mara: leading", " leading"),
        ("mara:🔑🔑🔑🔑🔑🔑", "🔑🔑🔑🔑🔑🔑"),
        ("mara:" + "x" * 1024, "x" * 1024),
        ("alice:hunter2", "hunter2"),
    ],
)
def test_the_password_is_everything_after_the_first_colon(text, password):
    assert parse_credential(text, "--auth").password == password


def test_a_password_under_twelve_characters_is_taken_with_a_warning():
    assert "7 characters" in str(weakness(parse_credential("alice:hunter2", "--auth")))
    assert weakness(parse_credential("alice:correct horse", "--auth")) is None


def test_a_typed_user_name_cannot_hold_a_colon():
    with pytest.raises(InputError):
        check_credential("a:b", "a-long-password", "The login")


def test_the_password_is_not_in_the_representation():
    assert "hunter2" not in repr(parse_credential("alice:hunter2", "--auth"))


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_flag_beats_the_environment_and_a_file_beats_text_within_it(tmp_path):
    file = private(tmp_path / "cred", "from:environment-file\n")
    environ = {"BACKPROPAGATE_UI__AUTH_FILE": str(file), "BACKPROPAGATE_UI__AUTH": "from:environment"}
    given = given_credential(text="from:the-flag", file=None, environ=environ)
    assert (given.credential.password, given.is_inline) == ("the-flag", True)
    given = given_credential(text=None, file=None, environ=environ)
    assert (given.credential.password, given.is_inline) == ("environment-file", False)
    del environ["BACKPROPAGATE_UI__AUTH_FILE"]
    assert given_credential(text=None, file=None, environ=environ).credential.password == "environment"
    assert given_credential(text=None, file=None, environ={}) is None


def test_an_empty_value_is_a_mistake_and_not_no_login():
    for text, environ in (("", {}), (None, {"BACKPROPAGATE_UI__AUTH": ""})):
        with pytest.raises(InputError) as caught:
            given_credential(text=text, file=None, environ=environ)
        assert caught.value.code == "INPUT_AUTH_INVALID_SHAPE"


def test_two_flags_with_a_credential_each_are_refused(tmp_path):
    with pytest.raises(InputError):
        given_credential(text="alice:hunter2", file=tmp_path / "cred", environ={})


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_credential_file_that_others_can_read_is_refused(tmp_path, mode):
    file = private(tmp_path / "cred", "mara:a-long-password")
    file.chmod(mode)
    with pytest.raises(InputError) as caught:
        given_credential(text=None, file=file, environ={})
    assert "chmod 600" in caught.value.hint


def test_a_credential_file_that_is_a_link_or_missing_is_refused(tmp_path):
    private(tmp_path / "cred", "mara:a-long-password")
    (tmp_path / "link").symlink_to(tmp_path / "cred")
    for path in (tmp_path / "link", tmp_path / "none"):
        with pytest.raises(InputError):
            given_credential(text=None, file=path, environ={})


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can give a file away")
def test_a_credential_file_of_another_user_is_refused(tmp_path):
    file = private(tmp_path / "cred", "mara:a-long-password")
    os.chown(file, 12345, 12345)
    with pytest.raises(InputError) as caught:
        given_credential(text=None, file=file, environ={})
    assert "another user" in caught.value.message


def test_the_hash_is_argon2id_with_the_chosen_cost_and_a_salt_of_its_own():
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first.startswith("$argon2id$v=19$m=65536,t=4,p=1$")
    assert first != second
    assert verify_password("correct horse", first)
    assert not verify_password("correct horsE", first)
