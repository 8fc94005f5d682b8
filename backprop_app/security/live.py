"""Open websockets: how many, whose, and how one is ended while it is in use.

A websocket is checked when it opens; this keeps the check true afterwards. A session that ends closes its
sockets within two seconds, whoever ended it, and a wall clock that is set back prolongs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from backprop_app.security.access import Access
from backprop_core.auth.store import Session
from backprop_core.ports import Clock

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SIGNED_OUT: Final = 4401
TOO_FAST: Final = 4429
TOO_SLOW: Final = 4408

_BURST: Final = 300
_PER_S: Final = 100.0
_STALLED_S: Final = 30.0
_CLOSE_S: Final = 1.0
_TICK_S: Final = 1.0
_CHECK_S: Final = 30.0
_MAX_CLIENTS: Final = 10_000


class LiveSocket:
    """One open websocket, which the server can end at any time.

    A client that sends faster than a person can, or leaves what it is sent unread for half a minute, is
    let go.
    """

    def __init__(self, receive: Receive, send: Send, clock: Clock) -> None:
        self._receive = receive
        self._send = send
        self._clock = clock
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._allowance = float(_BURST)
        self._counted_at = clock.monotonic()
        self._is_open = False

    def end(self, code: int) -> None:
        """End the connection; harmless when it has ended."""
        if not self._ended.done():
            self._ended.set_result(code)

    async def receive(self) -> Message:
        """Return the next message of the client, or that it is gone."""
        if not self._ended.done():
            waiting = asyncio.ensure_future(self._receive())
            try:
                both: set[asyncio.Future[Any]] = {waiting, self._ended}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not waiting.done():
                    waiting.cancel()
            if waiting.done() and not self._ended.done():
                message = waiting.result()
                if message["type"] != "websocket.receive" or self._is_within_rate():
                    return message
                self.end(TOO_FAST)
        await self.finish()
        return {"type": "websocket.disconnect", "code": self._ended.result()}

    async def send(self, message: Message) -> None:
        """Hand a message to the client; after the end it is dropped."""
        if self._ended.done():
            # Gives the reader of the app its turn to find out.
            await asyncio.sleep(0)
            return
        self._is_open = self._is_open or message["type"] == "websocket.accept"
        try:
            async with asyncio.timeout(_STALLED_S):
                await self._send(message)
        except TimeoutError:
            self.end(TOO_SLOW)

    async def finish(self) -> None:
        """Tell the client why its connection ended, once and only when the server ended it."""
        if self._ended.done() and self._is_open:
            self._is_open = False
            if self._ended.result() == TOO_SLOW:
                return
            # The client may be gone already.
            with contextlib.suppress(RuntimeError, OSError, TimeoutError):
                message = {"type": "websocket.close", "code": self._ended.result()}
                await asyncio.wait_for(self._send(message), _CLOSE_S)

    def _is_within_rate(self) -> bool:
        now = self._clock.monotonic()
        self._allowance = min(_BURST, self._allowance + (now - self._counted_at) * _PER_S) - 1
        self._counted_at = now
        return self._allowance >= 0


@dataclass(slots=True)
class _Owner:
    """A session with open sockets.

    Attributes:
        session: as it was last seen.
        ends_at: monotonic time that no clock and no use can move: the end of its seven days.
        idle_at: monotonic time at which it has been idle for too long.
    """

    session: Session
    ends_at: float
    idle_at: float
    sockets: set[LiveSocket] = field(default_factory=set)


class LiveSockets:
    """Every open websocket of the app.

    Args:
        access: who may pass; None when nobody has to sign in.
        clock: its monotonic half decides.
        limit: sockets of the whole app.
        session_limit: sockets of one session.
    """

    def __init__(self, access: Access | None, clock: Clock, *, limit: int, session_limit: int) -> None:
        self._access = access
        self._clock = clock
        self._limit = limit
        self._session_limit = session_limit
        self._count = 0
        self._owners: dict[str, _Owner] = {}
        self._clients: OrderedDict[str, Session] = OrderedDict()
        self._watching: asyncio.Task[None] | None = None

    def has_room(self, session: Session | None) -> bool:
        """Tell whether one more socket may open."""
        if self._count >= self._limit:
            return False
        owner = self._owners.get(session.sid_hash) if session else None
        return owner is None or len(owner.sockets) < self._session_limit

    def is_client_of(self, client: str, session: Session) -> bool:
        """Bind a Reflex client token to the session that used it first; tell whether it is this one's.

        The token names a tab's state on the server and travels in addresses, so it proves nothing.
        """
        bound = self._clients.get(client)
        if bound is not None and bound.sid_hash != session.sid_hash:
            assert self._access is not None
            if self._access.is_alive(bound) is not None:
                return False
        self._clients[client] = session
        self._clients.move_to_end(client)
        while len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)
        return True

    @contextlib.contextmanager
    def opened(self, socket: LiveSocket, session: Session | None) -> Iterator[None]:
        """Count a socket for as long as the block runs."""
        self._count += 1
        if session is not None:
            self._own(session).sockets.add(socket)
            self._watch()
        try:
            yield
        finally:
            self._count -= 1
            if session is not None and (owner := self._owners.get(session.sid_hash)) is not None:
                owner.sockets.discard(socket)
                if not owner.sockets:
                    del self._owners[session.sid_hash]

    def end_session(self, sid_hash: str) -> None:
        """Close every socket of a session."""
        owner = self._owners.get(sid_hash)
        for socket in owner.sockets if owner else ():
            socket.end(SIGNED_OUT)

    def prolong(self, session: Session) -> None:
        """Note that a session is in use."""
        if session.sid_hash in self._owners:
            self._own(session)

    def _own(self, session: Session) -> _Owner:
        assert self._access is not None
        now, wall = self._clock.monotonic(), self._access.now()
        left = session.left_s(wall)
        owner = self._owners.get(session.sid_hash)
        if owner is None:
            ends_at = now + session.life_left_s(wall)
            owner = self._owners[session.sid_hash] = _Owner(session, ends_at, now + left)
        owner.session, owner.idle_at = session, now + left
        return owner

    def _watch(self) -> None:
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._keep_checking())

    async def _keep_checking(self) -> None:
        """Close the sockets of sessions that ended, until no socket is open."""
        changes, checked_at = -1, self._clock.monotonic()
        while self._owners:
            now = self._clock.monotonic()
            try:
                seen = self._changes()
                is_due = seen != changes or now - checked_at >= _CHECK_S
                ended = [sid for sid, owner in self._owners.items() if self._has_ended(owner, now, is_due)]
            except sqlite3.Error:
                # Who cannot be checked is not let in.
                ended, is_due = list(self._owners), False
            if is_due:
                changes, checked_at = seen, now
            for sid_hash in ended:
                self.end_session(sid_hash)
            await asyncio.sleep(_TICK_S)

    def _changes(self) -> int:
        assert self._access is not None
        return self._access.changes()

    def _has_ended(self, owner: _Owner, now: float, is_due: bool) -> bool:
        assert self._access is not None
        if is_due:
            alive = self._access.is_alive(owner.session)
            if alive is None:
                return True
            if alive.seen_at != owner.session.seen_at:
                self._own(alive)
        return now >= min(owner.ends_at, owner.idle_at)
