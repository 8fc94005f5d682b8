"""A chat's worker without a model: the real channel and the real serving around invented words.

The name of its model says how it behaves: `echo` repeats the question word by word, `slow` writes until it is
cancelled, `hangs-loading`, `hangs-writing`, `aborts` while it loads, `aborts-writing`, `refuses` to load.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from backprop_core.config.chats import EndReason, Ready, Refused, ReplyOrder
from backprop_core.engine.chat.channel import open_channel
from backprop_core.engine.chat.serving import serve
from backprop_core.errors import DependencyError, InputError
from backprop_core.jobs.chat import ChatSetup

SETUP = ChatSetup((sys.executable, "-m", "tests.support.fake_chat"))


def hang() -> None:
    while True:
        time.sleep(60)


class FakeReply:
    def __init__(self, order: ReplyOrder, behaviour: str) -> None:
        self._words = [f"{order.side}:"]
        for message in order.messages:
            self._words += [f"{message.role}:", *message.content.split()]
        if order.messages[-1].content == "unspeakable":
            raise InputError("INPUT_VALIDATION_FAILED", "This cannot be asked.")
        self._limit = order.sampling.max_tokens
        self._behaviour = behaviour
        self.prompt_tokens = len(self._words)
        self.tokens = 0
        self.reason: EndReason | None = None

    def advance(self) -> str:
        if self._behaviour == "hangs-writing" and self.tokens == 2:
            hang()
        if self._behaviour == "aborts-writing" and self.tokens == 2:
            sys.stderr.write("GGML_ASSERT failed\n")
            sys.stderr.flush()
            os.abort()
        if self._behaviour == "slow":
            time.sleep(0.01)
            self.tokens += 1
            return "on "
        word = self._words[self.tokens]
        self.tokens += 1
        if self.tokens == len(self._words):
            self.reason = "stop"
        elif self.tokens == self._limit:
            self.reason = "length"
        return f"{word} "

    def close(self) -> None:
        pass


class FakeModel:
    device = "nothing"
    context_tokens = 100

    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour

    def reply(self, order: ReplyOrder) -> FakeReply:
        return FakeReply(order, self._behaviour)

    def must_go(self) -> str:
        return ""


def main() -> None:
    channel = open_channel()
    behaviour = Path(channel.spec.model).name
    if behaviour == "hangs-loading":
        hang()
    if behaviour == "aborts":
        os.abort()
    if behaviour == "refuses":
        error = DependencyError("DEP_EXTRA_MISSING", "Nothing here can run a GGUF file.")
        channel.say(Refused(id=None, error=error.record()))
        return
    print("a library prints to standard output")
    channel.say(Ready(device="nothing", context_tokens=100, seconds=0.1))
    serve(channel, FakeModel(behaviour), channel.spec.idle_s)


if __name__ == "__main__":
    main()
