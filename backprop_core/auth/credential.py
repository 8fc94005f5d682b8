"""A user name and a password, as they are given, and how strong they are. Pure; hashes nothing."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Final

from backprop_core.errors import InputError

MIN_CHARS: Final = 6
GOOD_CHARS: Final = 12
MAX_PASSWORD_BYTES: Final = 1024
MAX_USER_CHARS: Final = 64

_KNOWN_PASSWORDS: Final = frozenset(
    [
        "password",
        "password1",
        "passw0rd",
        "123456",
        "1234567",
        "12345678",
        "123456789",
        "1234567890",
        "000000",
        "111111",
        "qwerty",
        "qwertz",
        "abc123",
        "letmein",
        "changeme",
        "welcome",
        "secret",
        "admin123",
        "default",
        "backpropagate",
    ]
)
_KNOWN_PAIRS: Final = frozenset(
    [
        ("admin", "admin"),
        ("administrator", "administrator"),
        ("root", "toor"),
        ("user", "pass"),
        ("username", "password"),
    ]
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A checked pair; the password stays out of `repr`."""

    user: str
    password: str = field(repr=False)


def parse_credential(text: str, source: str) -> Credential:
    """Return the pair in `user:password`, cut at the first colon.

    Args:
        text: as it was given; never repeated in a message.
        source: names where it came from, for the message.

    Raises:
        InputError: INPUT_AUTH_INVALID_SHAPE, saying what is wrong with it.
    """
    user, colon, password = text.partition(":")
    if not colon:
        raise _refused(source, "has no colon between user and password")
    return check_credential(user, password, source)


def check_credential(user: str, password: str, source: str) -> Credential:
    """Return the pair when both parts may be used.

    Raises:
        InputError: INPUT_AUTH_INVALID_SHAPE, saying what is wrong with it.
    """
    if not user:
        raise _refused(source, "has no user name")
    if len(user) > MAX_USER_CHARS or any(
        char == ":" or unicodedata.category(char) in {"Cc", "Cs"} for char in user
    ):
        raise _refused(
            source, f"has a user name with a colon, control characters or over {MAX_USER_CHARS} characters"
        )
    if not password:
        raise _refused(source, "has no password")
    if not is_possible_password(password):
        raise _refused(source, f"has a password with a NUL or over {MAX_PASSWORD_BYTES} bytes")
    if len(password) < MIN_CHARS:
        raise _refused(source, f"has a password of fewer than {MIN_CHARS} characters")
    pair = (user.casefold(), password.casefold())
    if pair in _KNOWN_PAIRS or pair[1] in _KNOWN_PASSWORDS or pair[0] == pair[1]:
        raise _refused(source, "is a well-known pair that is tried first by anyone who guesses")
    return Credential(user, password)


def is_possible_password(password: str) -> bool:
    """Tell whether a password of this form can ever have been set."""
    try:
        return "\0" not in password and len(password.encode()) <= MAX_PASSWORD_BYTES
    except UnicodeEncodeError:
        return False


def weakness(credential: Credential) -> str | None:
    """Return one sentence on why an accepted password is weak, None when it is long enough."""
    length = len(credential.password)
    if length >= GOOD_CHARS:
        return None
    return (
        f"The password of {credential.user} has {length} characters; {GOOD_CHARS} or more are hard to guess."
    )


def _refused(source: str, reason: str) -> InputError:
    return InputError("INPUT_AUTH_INVALID_SHAPE", f"{source} {reason}.")
