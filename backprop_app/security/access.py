"""Decides who somebody is: the session of a cookie, the token of a script, a login, a logout.

Stands between the gate and the store. Knows cookies and tickets, but no page and no socket.
"""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from secrets import compare_digest
from typing import Final

from backprop_app.security import cookies
from backprop_app.security.rules import Headers, values
from backprop_app.security.tickets import HALF_LIFE_S, LIFE_S, Ticket, Tickets
from backprop_core.auth.audit import AuditLog
from backprop_core.auth.credential import is_possible_password
from backprop_core.auth.limiter import Limiter
from backprop_core.auth.passwords import verify_password
from backprop_core.auth.secret_files import signing_key
from backprop_core.auth.store import Account, Session, Token, digest
from backprop_core.ports import Clock
from backprop_core.services.access import Login

HASHES_AT_ONCE: Final = 2
_MAX_TOKEN_CHARS: Final = 100


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a login failed: a wrong pair with tries left, or too many before it.

    Attributes:
        wait_s: whole seconds until the next try is taken, 0 when it is now.
    """

    left: int = 0
    wait_s: int = 0


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and the header that gives its cookie to the browser."""

    session: Session
    cookie: tuple[bytes, bytes]


class Access:
    """Who may pass, for one running app.

    Raises:
        StateError: STATE_STORE_INVALID when others can read the signing key.
    """

    def __init__(self, login: Login, audit: AuditLog, clock: Clock) -> None:
        self._store = login.store
        self._kind = login.kind
        self._audit = audit
        self._clock = clock
        self._tickets = Tickets(signing_key(login.store.folder), login.store.instance)
        self._limiter = Limiter(login.store)
        # Its size is the limit: each hash costs 64 MiB and a quarter of a second of a core.
        self._hashing = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="password")

    def now(self) -> float:
        """Return the wall time in seconds."""
        return self._clock.now().timestamp()

    def session(self, headers: Headers, *, is_tls: bool) -> Session | None:
        """Return the live session that the request belongs to."""
        found = self._find(headers, is_tls=is_tls)
        return found[1] if found else None

    def token(self, headers: Headers) -> Token | None:
        """Return the token that the request carries."""
        given = values(headers, b"authorization")
        if len(given) != 1:
            return None
        scheme, _, secret = given[0].decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(secret) <= _MAX_TOKEN_CHARS:
            return None
        return self._store.token(secret.strip())

    def is_alive(self, session: Session) -> Session | None:
        """Return the session as it stands now, None when it has ended."""
        return self._store.session(session.sid_hash, self._kind, self.now())

    def changes(self) -> int:
        """Return a number that differs after sessions or credentials were changed by anybody."""
        return self._store.changes()

    async def log_in(
        self, user: str, password: str, *, peer: str, agent: str, is_tls: bool
    ) -> SignedIn | Denied:
        """Try a user name and a password; each try costs one hash, whether the user exists or not."""
        admission = await asyncio.to_thread(self._limiter.admit, user, peer, self.now())
        if admission.wait_s > 0:
            await self.note("login.limited", user=user, peer=peer)
            return Denied(wait_s=math.ceil(admission.wait_s))
        account = self._store.account(self._kind)
        is_right = account is not None and await asyncio.get_running_loop().run_in_executor(
            self._hashing, _matches, account, user, password
        )
        if account is None or not is_right:
            await self.note("login.refused", user=user, peer=peer)
            return Denied(left=admission.left)
        now = self.now()

        def open_session() -> str:
            self._limiter.succeeded(user, peer)
            return self._store.open_session(account, now=now, agent=agent, peer=peer)

        sid = await asyncio.to_thread(open_session)
        await self.note("login", user=user, peer=peer)
        session = Session(digest(sid), user, account.epoch, now, now)
        return SignedIn(session, self._cookie(session, sid, is_tls=is_tls))

    async def log_out(self, session: Session, *, peer: str) -> None:
        """End a session."""
        await asyncio.to_thread(self._store.end_session, session.sid_hash)
        await self.note("logout", user=session.user, peer=peer)

    async def refresh(self, headers: Headers, *, is_tls: bool) -> tuple[bytes, bytes] | None:
        """Note that the session of the request is in use; return a new cookie at half life of the old."""
        now, found = self.now(), self._find(headers, is_tls=is_tls)
        if found is None:
            return None
        ticket, session = found
        await asyncio.to_thread(self._store.touch, session.sid_hash, now)
        if now - ticket.issued_at < HALF_LIFE_S:
            return None
        return self._cookie(replace(session, seen_at=now), ticket.sid, is_tls=is_tls)

    async def note(self, action: str, *, user: str, peer: str, **facts: str) -> None:
        """Write a line of the audit log."""
        await asyncio.to_thread(self._audit.write, action, user=user, peer=peer, **facts)

    def _find(self, headers: Headers, *, is_tls: bool) -> tuple[Ticket, Session] | None:
        now = self.now()
        for text in cookies.read_cookie(headers, cookies.SESSION, is_tls=is_tls):
            ticket = self._tickets.read(text, now)
            if ticket is None:
                continue
            found = self._store.session(digest(ticket.sid), self._kind, now)
            if found is not None and (found.user, found.epoch) == (ticket.user, ticket.epoch):
                return ticket, found
        return None

    def _cookie(self, session: Session, sid: str, *, is_tls: bool) -> tuple[bytes, bytes]:
        """Return the cookie of a session that is in use at this moment."""
        now = session.seen_at
        left = session.left_s(now)
        ticket = self._tickets.issue(session.user, sid, session.epoch, now=now, left_s=left)
        return cookies.set_cookie(cookies.SESSION, ticket, max_age_s=min(LIFE_S, int(left)), is_tls=is_tls)


def _matches(account: Account, user: str, password: str) -> bool:
    """Compare a pair with the account. The hash always runs, so that a wrong name takes no less time."""
    is_possible = is_possible_password(password)
    is_right = verify_password(password if is_possible else "", account.hash)
    same_user = compare_digest(user.encode("utf-8", "replace"), account.user.encode())
    return is_right and same_user and is_possible
