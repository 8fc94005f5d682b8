"""Delivers the outbox to the webhook, in a thread of the scheduler, so that no receiver holds up the queue.

A notice is tried again after growing pauses and given up after the last one. What was not delivered when
the process ended is delivered by the next one.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from backprop_core.config.settings import load_settings
from backprop_core.errors import ConfigError
from backprop_core.jobs.webhook import Sender, WebhookError, send
from backprop_core.platform import FileLock
from backprop_core.runs import outbox
from backprop_core.runs.outbox import Outcome, Post
from backprop_core.workspace import Workspace

PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0, 180.0, 600.0)
_LOOK_EVERY_S: Final = 0.25
_OLDEST: Final = timedelta(days=1)

log = logging.getLogger(__name__)


def configured_webhook() -> str | None:
    """Return the address as the settings have it now, None when there is none or they cannot be read."""
    try:
        webhook = load_settings()[0].notify__webhook
    except ConfigError:
        return None
    return webhook.get_secret_value() if webhook is not None else None


def has_mail(ws: Workspace) -> bool:
    """Return whether a notice waits that somebody wants to have."""
    with ws.database.reading() as connection:
        waits = bool(outbox.waiting(connection))
    return waits and configured_webhook() is not None


class Notifier:
    """Delivers what waits until it is closed; `is_idle` tells when nothing is left to do.

    Args:
        sender: delivers one notice.
        pauses_s: the waits between the tries.
    """

    def __init__(
        self,
        ws: Workspace,
        *,
        sender: Sender = send,
        webhook: Callable[[], str | None] = configured_webhook,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._ws = ws
        self._sender = sender
        self._webhook = webhook
        self._pauses_s = pauses_s
        self._due: dict[int, float] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def is_idle(self) -> bool:
        """Return whether nothing waits that somebody wants to have."""
        return not self._waiting() or self._webhook() is None

    def close(self) -> None:
        """Stop after the delivery that is under way; what nobody wants does not wait for a later wish."""
        self._ending.set()
        self._thread.join()
        if self._webhook() is None:
            self.deliver()

    def deliver(self) -> None:
        """Try everything that is due once.

        Only one process delivers at a time, whoever else thinks that it is the scheduler.
        """
        waiting = self._waiting()
        if not waiting:
            return
        lock = FileLock(self._ws.home / "outbox.lock")
        if not lock.acquire():
            return
        try:
            url = self._webhook()
            for post in self._waiting():
                self._try(post, url)
        finally:
            lock.release()

    def _run(self) -> None:
        while not self._ending.wait(_LOOK_EVERY_S):
            try:
                self.deliver()
            except sqlite3.Error as error:
                log.warning("the outbox cannot be read: %s", error)

    def _waiting(self) -> Sequence[Post]:
        with self._ws.database.reading() as connection:
            return outbox.waiting(connection)

    def _try(self, post: Post, url: str | None) -> None:
        age = self._ws.clock.now() - datetime.fromisoformat(post.created_at)
        if url is None or age > _OLDEST:
            self._settle(post, "unwanted")
            return
        now = self._ws.clock.monotonic()
        if now < self._due.get(post.id, 0.0):
            return
        try:
            self._sender(url, post)
        except WebhookError as error:
            self._after_failure(post, error, now)
        else:
            log.info("the end of run %s was told", post.notice.run_id)
            self._settle(post, "delivered")

    def _after_failure(self, post: Post, error: WebhookError, now: float) -> None:
        log.warning("the end of run %s could not be told: %s", post.notice.run_id, error)
        if error.is_final or post.tries >= len(self._pauses_s):
            self._settle(post, "given-up")
            return
        self._due[post.id] = now + self._pauses_s[post.tries]
        with self._ws.database.transaction() as connection:
            outbox.note_failure(connection, post.id)

    def _settle(self, post: Post, outcome: Outcome) -> None:
        self._due.pop(post.id, None)
        with self._ws.database.transaction() as connection:
            outbox.settle(connection, post.id, outcome)
