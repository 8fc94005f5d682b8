"""Replies of models on this machine, for every face: keeps a few models in memory and streams what they write.

A pool belongs to one process and ends with it; each model is in a worker process of its own.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from backprop_core.config.chats import (
    ChatMessage,
    ChatSpec,
    Finished,
    Piece,
    Ready,
    Refused,
    ReplyOrder,
    Sampling,
    Side,
    Told,
)
from backprop_core.errors import InputError, RunError, error_from_record
from backprop_core.jobs.chat import ChatSetup, ChatWorker

MAX_MODELS: Final = 2
MAX_REPLIES: Final = 4
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    """What one reply is about; a whole conversation, newest turn last."""

    messages: Sequence[ChatMessage]
    sampling: Sampling = field(default_factory=Sampling)
    enable_thinking: bool = False


class Talk:
    """One reply on its way.

    Args:
        worker: that writes it.
        reply_id: its number there.
    """

    def __init__(self, worker: ChatWorker, reply_id: int) -> None:
        self._worker = worker
        self._reply_id = reply_id

    def cancel(self) -> None:
        """Ask for the end; it is told like any other."""
        self._worker.cancel(self._reply_id)


class ChatPool:
    """The models that one process holds for its chats.

    Args:
        home: folder of the installation.
        setup: how workers are run.
    """

    def __init__(self, home: Path, setup: ChatSetup = ChatSetup()) -> None:  # noqa: B008
        self._home = home
        self._setup = setup
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._workers: dict[ChatSpec, ChatWorker] = {}

    def ask(self, spec: ChatSpec, side: Side, asked: Asked, tell: Callable[[Told], None]) -> Talk:
        """Order a reply; the model is loaded when it is not in memory. Returns at once.

        Args:
            spec: of the model that answers.
            side: `base` answers without the adapter.
            asked: the conversation.
            tell: called from another thread with each `Piece` and at last with `Finished` or `Refused`;
                it must not block.

        Raises:
            RunError: RUNTIME_CHAT_BUSY, other models are answering and no more fit beside them.
        """
        with self._lock:
            worker = self._worker_for(spec)
            if worker.open_replies >= MAX_REPLIES:
                raise RunError("RUNTIME_CHAT_BUSY", "The model has as many replies to write as it takes.")
            order = ReplyOrder(
                id=next(self._numbers),
                side=side,
                messages=tuple(asked.messages),
                sampling=asked.sampling,
                enable_thinking=asked.enable_thinking,
            )
            worker.ask(order, tell)
        return Talk(worker, order.id)

    def close(self) -> None:
        """Put every model away."""
        with self._lock:
            workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.close()

    def ready(self, spec: ChatSpec) -> Ready | None:
        """Return what its worker told when the model was in memory; None while it is not."""
        with self._lock:
            worker = self._workers.get(spec)
            return worker.ready if worker is not None and worker.is_usable else None

    def _worker_for(self, spec: ChatSpec) -> ChatWorker:
        """Return the worker of a spec, started now when there is none; the least used one makes room."""
        for known, worker in list(self._workers.items()):
            if not worker.is_usable:
                self._workers.pop(known).close()
        if spec in self._workers:
            return self._workers[spec]
        if len(self._workers) >= MAX_MODELS:
            resting = [worker for worker in self._workers.values() if not worker.open_replies]
            if not resting:
                raise RunError("RUNTIME_CHAT_BUSY", f"{len(self._workers)} other models are answering now.")
            oldest = min(resting, key=lambda worker: worker.used_at)
            self._workers.pop(oldest.spec).close()
        worker = self._workers[spec] = ChatWorker(spec, self._home, self._setup)
        return worker


def sampling_of(values: Mapping[str, Any]) -> Sampling:
    """Return the sampling that `values` describe; what is not named keeps its default.

    Raises:
        InputError: INPUT_VALIDATION_FAILED with the name of the field.
    """
    try:
        return Sampling.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "sampling"
        told = f"{name} cannot be {str(first['input'])[:40]}: {first['msg'].lower()}."
        raise InputError(
            "INPUT_VALIDATION_FAILED", told, hint="Leave it out to take the default.", field=name
        ) from error


def reply(
    pool: ChatPool,
    spec: ChatSpec,
    side: Side,
    asked: Asked,
    *,
    is_unwanted: Callable[[], bool] = lambda: False,
) -> Iterator[Piece | Finished]:
    """Yield the pieces of a reply as they are written, and `Finished` at last.

    Args:
        is_unwanted: looked at several times a second; when it is true the reply is ended.

    Raises:
        BackpropagateError: why there is no reply, or why it broke off.
    """
    told: queue.SimpleQueue[Told] = queue.SimpleQueue()
    talk = pool.ask(spec, side, asked, told.put)
    is_cancelled = False
    while True:
        try:
            what = told.get(timeout=_LOOK_S)
        except queue.Empty:
            what = None
        if is_unwanted() and not is_cancelled:
            is_cancelled = True
            talk.cancel()
        if isinstance(what, Refused):
            raise error_from_record(what.error)
        if isinstance(what, Piece | Finished):
            yield what
        if isinstance(what, Finished):
            return
