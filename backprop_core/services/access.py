"""Logins of the web app: which credential holds, and what `backprop auth` does to it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backprop_core import platform
from backprop_core.auth.audit import AuditLog
from backprop_core.auth.credential import Credential, weakness
from backprop_core.auth.sources import given_credential
from backprop_core.auth.store import Account, AuthStore, Kind, Token
from backprop_core.errors import InputError
from backprop_core.ports import Clock, SystemClock

_GENERATED_CHARS: Final = 24
# Without the characters that people mix up when they read one from a screen.
_ALPHABET: Final = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_PEER: Final = "terminal"


@dataclass(frozen=True, slots=True)
class Login:
    """A login that is set up.

    Attributes:
        store: of sessions and attempts, open.
        kind: which credential of the store holds.
        warnings: sentences that the operator should read.
    """

    store: AuthStore
    kind: Kind
    warnings: tuple[str, ...] = ()


def set_up_login(
    home: Path,
    environ: Mapping[str, str],
    *,
    text: str | None = None,
    file: Path | None = None,
    config_file: Path | None = None,
) -> Login | None:
    """Return the login that flags, environment, configuration or store ask for, None when none does.

    Args:
        home: folder of the store.
        environ: the environment.
        text: of `--auth`.
        file: of `--auth-file`.
        config_file: `ui.auth_file` of `config.toml`.

    Raises:
        InputError: INPUT_AUTH_INVALID_SHAPE.
        StateError: STATE_STORE_INVALID.
        DependencyError: DEP_EXTRA_MISSING.
    """
    given = given_credential(text=text, file=file, environ=environ, config_file=config_file)
    if given is None and not (home / "secrets" / "auth.db").exists():
        return None
    store = AuthStore(home)
    if given is None:
        if store.account("stored") is not None:
            return Login(store, "stored")
        store.close()
        return None
    store.set_account("given", given.credential)
    warnings = [weakness(given.credential)]
    if given.is_inline:
        warnings.append(
            "A password on the command line can be read in the process list and in the shell's history; "
            "`backprop auth set` keeps it out of both."
        )
    return Login(store, "given", tuple(filter(None, warnings)))


def set_password(home: Path, credential: Credential, *, clock: Clock | None = None) -> Account:
    """Store a credential; every session of another one ends at once."""
    with _opened(home, clock) as (store, log):
        account = store.set_account("stored", credential)
        _note(log, "password.set", account=credential.user)
    return account


def remove_password(home: Path, *, clock: Clock | None = None) -> bool:
    """Forget the stored credential and its sessions; return whether there was one."""
    with _opened(home, clock) as (store, log):
        removed = store.remove_account("stored")
        _note(log, "password.remove")
    return removed


def generate_password() -> str:
    """Return a random password of 24 characters, about 139 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_GENERATED_CHARS))


def log_out_all(home: Path, *, clock: Clock | None = None) -> int:
    """End every session and return how many there were; open pages close within two seconds."""
    with _opened(home, clock) as (store, log):
        count = store.end_all_sessions()
        _note(log, "logout.all", sessions=str(count))
    return count


def create_token(home: Path, name: str, *, clock: Clock | None = None) -> tuple[Token, str]:
    """Return a new token for scripts and its secret, which cannot be shown again."""
    clock = clock or SystemClock()
    with _opened(home, clock) as (store, log):
        token, secret = store.create_token(name, clock.now().timestamp())
        _note(log, "token.create", token=token.token_id, name=name)
    return token, secret


def list_tokens(home: Path) -> list[Token]:
    """Return every token, oldest first."""
    with _opened(home, None) as (store, _):
        return store.tokens()


def revoke_token(home: Path, token_id: str, *, clock: Clock | None = None) -> None:
    """Make a token useless at once.

    Raises:
        InputError: INPUT_VALIDATION_FAILED when there is none with this id.
    """
    with _opened(home, clock) as (store, log):
        if not store.revoke_token(token_id):
            raise InputError(
                "INPUT_VALIDATION_FAILED",
                f"No token has the id {token_id[:40]}.",
                hint="`backprop auth token --list` shows every token with its id.",
            )
        _note(log, "token.revoke", token=token_id)


@contextmanager
def _opened(home: Path, clock: Clock | None) -> Iterator[tuple[AuthStore, AuditLog]]:
    store = AuthStore(home)
    try:
        yield store, AuditLog(home, clock or SystemClock())
    finally:
        store.close()


def _note(log: AuditLog, action: str, **facts: str) -> None:
    log.write(action, user=platform.user_name(), peer=_PEER, **facts)
