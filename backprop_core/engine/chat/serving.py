"""Lets the replies of one model advance in turns, so that base and tuned are written side by side.

Knows no library: a model gives replies, a reply gives words.
"""

from __future__ import annotations

import logging
import queue
import time
from dataclasses import dataclass
from typing import Final, Protocol

from backprop_core.config.chats import CancelOrder, Closing, EndReason, Finished, Piece, Refused, ReplyOrder
from backprop_core.engine.chat.channel import GONE, Channel
from backprop_core.engine.failures import known_failure
from backprop_core.errors import RunError

_LOOK_S: Final = 1.0


class Reply(Protocol):
    """One reply that is being written."""

    prompt_tokens: int
    tokens: int
    reason: EndReason | None

    def advance(self) -> str:
        """Write a little more and return it, maybe nothing; sets `reason` at the end."""
        ...

    def close(self) -> None:
        """Free what the reply holds."""
        ...


class ChatModel(Protocol):
    """A model in memory."""

    @property
    def device(self) -> str:
        """Where it computes, in words."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and reply may have together."""
        ...

    def reply(self, order: ReplyOrder) -> Reply:
        """Begin a reply."""
        ...

    def must_go(self) -> str:
        """Return why the model has to leave its device now, empty when it may stay."""
        ...


@dataclass
class _Open:
    order: ReplyOrder
    reply: Reply
    asked_at: float
    first_at: float = 0.0

    def finished(self, now: float) -> Finished:
        first_at = self.first_at or now
        return Finished(
            id=self.order.id,
            reason=self.reply.reason or "cancelled",
            prompt_tokens=self.reply.prompt_tokens,
            tokens=self.reply.tokens,
            first_token_s=round(first_at - self.asked_at, 4),
            seconds=round(now - first_at, 4),
        )


def serve(channel: Channel, model: ChatModel, idle_s: float) -> None:
    """Answer until the orders end, nobody asks for `idle_s`, or the model must leave its device."""
    replies: dict[int, _Open] = {}
    quiet_since = time.monotonic()
    while True:
        try:
            order = channel.next(0 if replies else min(_LOOK_S, idle_s))
            if order is GONE:
                return
            if isinstance(order, CancelOrder):
                _end(channel, replies, order.id)
            else:
                _begin(channel, model, replies, order)
            continue
        except queue.Empty:
            pass
        if replies:
            for opened in list(replies.values()):
                _advance(channel, replies, opened)
            quiet_since = time.monotonic()
        elif reason := model.must_go():
            channel.say(Closing(reason=reason))
            return
        elif time.monotonic() - quiet_since >= idle_s:
            channel.say(Closing(reason="nobody asked for a while"))
            return


def _begin(channel: Channel, model: ChatModel, replies: dict[int, _Open], order: ReplyOrder) -> None:
    asked_at = time.monotonic()
    try:
        replies[order.id] = _Open(order, model.reply(order), asked_at)
    except Exception as error:  # noqa: BLE001 - one reply never ends the worker
        _refuse(channel, order.id, error)


def _advance(channel: Channel, replies: dict[int, _Open], opened: _Open) -> None:
    try:
        text = opened.reply.advance()
    except Exception as error:  # noqa: BLE001 - one reply never ends the worker
        replies.pop(opened.order.id).reply.close()
        _refuse(channel, opened.order.id, error)
        return
    if opened.reply.tokens and not opened.first_at:
        opened.first_at = time.monotonic()
    if text:
        channel.say(Piece(id=opened.order.id, text=text))
    if opened.reply.reason is not None:
        _end(channel, replies, opened.order.id)


def _end(channel: Channel, replies: dict[int, _Open], reply_id: int) -> None:
    """End a reply; one that is unknown has ended already."""
    opened = replies.pop(reply_id, None)
    if opened is not None:
        opened.reply.close()
        channel.say(opened.finished(time.monotonic()))


def _refuse(channel: Channel, reply_id: int, error: Exception) -> None:
    known = known_failure(error) or RunError("RUNTIME_CHAT_FAILED", f"The reply broke off: {error}")
    logging.getLogger(__name__).error("%s", known, exc_info=error)
    channel.say(Refused(id=reply_id, error=known.record()))
