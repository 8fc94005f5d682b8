"""The SQLite file of logins: `secrets/auth.db`.

Credentials are kept as hashes, sessions and tokens as SHA-256 of what the client holds. Every change of a
password raises a number, the epoch; a session belongs to one epoch and dies with it. Safe for several
processes: `backprop auth` changes it while the app runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from backprop_core.auth.credential import Credential
from backprop_core.auth.passwords import hash_password, verify_password
from backprop_core.auth.secret_files import secrets_folder
from backprop_core.errors import StateError
from backprop_core.platform import private_umask

SCHEMA_VERSION: Final = 1
IDLE_S: Final = 12 * 3600
LIFE_S: Final = 7 * 24 * 3600

Kind = Literal["stored", "given"]

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE credentials (
    kind  TEXT PRIMARY KEY,
    user  TEXT NOT NULL,
    hash  TEXT NOT NULL,
    epoch INTEGER NOT NULL UNIQUE
) STRICT;
CREATE TABLE sessions (
    sid_hash   TEXT PRIMARY KEY,
    user       TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    created_at REAL NOT NULL,
    seen_at    REAL NOT NULL,
    agent      TEXT NOT NULL,
    peer       TEXT NOT NULL
) STRICT;
CREATE TABLE tokens (
    token_id   TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;
CREATE TABLE attempts (account TEXT NOT NULL, peer TEXT NOT NULL, at REAL NOT NULL) STRICT;
CREATE INDEX attempts_by_time ON attempts (at);
"""
_BUSY_MS: Final = 5000
_SHOWN_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Account:
    """The user who may sign in; `hash` is of the password."""

    kind: Kind
    user: str
    hash: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that signed in.

    Attributes:
        sid_hash: hash of the secret in its cookie.
        epoch: of the credential it signed in with.
        created_at: wall time of the login in seconds.
        seen_at: wall time of its last use in seconds, a minute coarse.
    """

    sid_hash: str
    user: str
    epoch: int
    created_at: float
    seen_at: float

    def left_s(self, now: float) -> float:
        """Return for how long it may go on without being used."""
        return min(self.seen_at + IDLE_S - now, self.life_left_s(now))

    def life_left_s(self, now: float) -> float:
        """Return for how long it may go on however much it is used."""
        return self.created_at + LIFE_S - now


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a script, without its secret."""

    token_id: str
    name: str
    created_at: float


class AuthStore:
    """The logins of the installation at `home`, created when missing.

    Raises:
        StateError: STATE_STORE_INVALID when it cannot be opened or others may enter its folder.
    """

    def __init__(self, home: Path) -> None:
        self.folder = secrets_folder(home)
        self._path = self.folder / "auth.db"
        # Reads come from the event loop and must never wait for a write that flushes to disk.
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        with private_umask():
            try:
                self._writer = self._connect()
                self._prepare()
                self._reader = self._connect()
            except sqlite3.Error as error:
                raise StateError(
                    "STATE_STORE_INVALID",
                    f"{self._path} cannot be used: {error}.",
                    hint="Move the file away to start with no password and no session.",
                ) from error
        self.instance = self._instance()

    def close(self) -> None:
        """Close the file."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def changes(self) -> int:
        """Return a number that differs after anybody changed the file."""
        return int(self._one("PRAGMA data_version")[0])

    def account(self, kind: Kind) -> Account | None:
        """Return the credential of one kind."""
        row = self._one("SELECT kind, user, hash, epoch FROM credentials WHERE kind = ?", kind)
        return Account(*row) if row else None

    def set_account(self, kind: Kind, credential: Credential) -> Account:
        """Make `credential` the one of its kind; the same as before keeps its sessions, another ends them."""
        known = self.account(kind)
        if (
            known is not None
            and known.user == credential.user
            and verify_password(credential.password, known.hash)
        ):
            return known
        hashed = hash_password(credential.password)
        with self._transaction() as connection:
            epoch = int(connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0]) + 1
            connection.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (str(epoch),))
            connection.execute(
                "INSERT OR REPLACE INTO credentials VALUES (?, ?, ?, ?)",
                (kind, credential.user, hashed, epoch),
            )
            self._forget_dead_sessions(connection)
        return Account(kind, credential.user, hashed, epoch)

    def remove_account(self, kind: Kind) -> bool:
        """Forget a credential and its sessions; return whether there was one."""
        with self._transaction() as connection:
            removed = connection.execute("DELETE FROM credentials WHERE kind = ?", (kind,)).rowcount
            self._forget_dead_sessions(connection)
        return removed > 0

    def open_session(self, account: Account, *, now: float, agent: str, peer: str) -> str:
        """Add a session and return the secret that its cookie carries."""
        sid = secrets.token_urlsafe(32)
        with self._transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE created_at < ?", (now - LIFE_S,))
            connection.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    digest(sid),
                    account.user,
                    account.epoch,
                    now,
                    now,
                    agent[:_SHOWN_CHARS],
                    peer[:_SHOWN_CHARS],
                ),
            )
        return sid

    def session(self, sid_hash: str, kind: Kind, now: float) -> Session | None:
        """Return a session that is alive: not ended, not too old, and of the credential that holds now."""
        row = self._one(
            "SELECT s.sid_hash, s.user, s.epoch, s.created_at, s.seen_at FROM sessions s "
            "JOIN credentials c ON c.epoch = s.epoch WHERE s.sid_hash = ? AND c.kind = ?",
            sid_hash,
            kind,
        )
        found = Session(*row) if row else None
        return found if found is not None and found.left_s(now) > 0 else None

    def touch(self, sid_hash: str, now: float) -> None:
        """Note that a session is in use."""
        with self._transaction() as connection:
            connection.execute("UPDATE sessions SET seen_at = ? WHERE sid_hash = ?", (now, sid_hash))

    def end_session(self, sid_hash: str) -> None:
        """End one session."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE sid_hash = ?", (sid_hash,))

    def end_all_sessions(self) -> int:
        """End every session and return how many there were."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM sessions").rowcount

    def create_token(self, name: str, now: float) -> tuple[Token, str]:
        """Add a token for scripts; return it and its secret, which is kept nowhere."""
        secret = f"bp_{secrets.token_urlsafe(32)}"
        token = Token(secrets.token_hex(4), name[:_SHOWN_CHARS], now)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?)",
                (token.token_id, digest(secret), token.name, token.created_at),
            )
        return token, secret

    def token(self, secret: str) -> Token | None:
        """Return the token that has this secret."""
        row = self._one("SELECT token_id, name, created_at FROM tokens WHERE token_hash = ?", digest(secret))
        return Token(*row) if row else None

    def tokens(self) -> list[Token]:
        """Return every token, oldest first."""
        with self._read_lock:
            rows = self._reader.execute(
                "SELECT token_id, name, created_at FROM tokens ORDER BY created_at, token_id"
            ).fetchall()
        return [Token(*row) for row in rows]

    def revoke_token(self, token_id: str) -> bool:
        """Make a token useless; return whether there was one."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM tokens WHERE token_id = ?", (token_id,)).rowcount > 0

    @contextlib.contextmanager
    def attempts(self) -> Iterator[sqlite3.Connection]:
        """Yield a transaction for the limiter; nobody else counts or adds attempts meanwhile."""
        with self._transaction() as connection:
            yield connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _prepare(self) -> None:
        with self._transaction() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise StateError(
                    "STATE_STORE_INVALID",
                    f"{self._path} was written by a newer version "
                    f"(schema {version}, this one reads {SCHEMA_VERSION}).",
                )
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    connection.execute(statement)
                values = [("instance", secrets.token_hex(16)), ("epoch", "0")]
                connection.executemany("INSERT INTO meta VALUES (?, ?)", values)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _instance(self) -> str:
        return str(self._one("SELECT value FROM meta WHERE name = 'instance'")[0])

    def _one(self, query: str, *values: object) -> Any:
        with self._read_lock:
            return self._reader.execute(query, values).fetchone()

    @staticmethod
    def _forget_dead_sessions(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM sessions WHERE epoch NOT IN (SELECT epoch FROM credentials)")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")


def digest(secret: str) -> str:
    """Return the SHA-256 under which a random secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()
