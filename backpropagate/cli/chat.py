"""`backprop generate` and `backprop chat`: the trained model answers, streamed, in a worker of its own."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backprop_core.errors import BackpropagateError, ExitCode, InputError
from backpropagate.cli.root import command
from backpropagate.cli.sampling import asked, with_sampling

if TYPE_CHECKING:
    from backprop_core.config.chats import Finished, Side
    from backprop_core.services.chat_sources import ChatSource
    from backprop_core.services.chats import Asked, ChatPool

SOURCE = Annotated[
    str,
    typer.Argument(
        metavar="RUN_ID|PATH",
        help="A run's or an export's id, an adapter or model folder, or a GGUF file.",
        show_default=False,
    ),
]
SYSTEM = Annotated[
    str | None, typer.Option("--system", help="System prompt of the conversation.", show_default=False)
]
THINKING = Annotated[
    bool, typer.Option("--thinking", help="Let models think that can be told to.", show_default=False)
]
_LEAVE: Final = frozenset({"/exit", "/quit"})
_NEW: Final = "/new"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "generate")(generate)
    command(app, "chat")(chat)


@with_sampling
def generate(
    source: SOURCE,
    prompt: Annotated[str, typer.Argument(help="What to ask; - reads it from standard input.")],
    with_base: Annotated[
        bool, typer.Option("--base", help="Ask the base model too, to compare.", show_default=False)
    ] = False,
    system: SYSTEM = None,
    thinking: THINKING = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the replies as JSON.")] = False,
    **sampling: Any,
) -> int:
    """Ask a trained model one question. Ctrl-C ends the reply."""
    from backpropagate.cli.render import put_json

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise InputError("INPUT_VALIDATION_FAILED", "The prompt is empty.", hint="Name it after the model.")
    question = asked(text, system, thinking, sampling)
    sides: tuple[Side, ...] = ("tuned", "base") if with_base else ("tuned",)
    with _opened(source) as (pool, found), _Interrupt() as interrupt:
        replies = {}
        for side in sides:
            if with_base and not as_json:
                _say(f"{'' if side == 'tuned' else chr(10)}{side}:\n")
            reply, ending = _answer(pool, found, side, question, interrupt, is_shown=not as_json)
            replies[side] = {"text": reply, **ending.model_dump(exclude={"type", "id"})}
            if interrupt.is_set:
                break
    if as_json:
        put_json("generate", {"model": found.name, "prompt": text, "replies": replies})
    return ExitCode.INTERRUPTED if interrupt.is_set else ExitCode.OK


@with_sampling
def chat(source: SOURCE, system: SYSTEM = None, thinking: THINKING = False, **sampling: Any) -> int:
    """Talk to a trained model. /new begins anew, /exit leaves, Ctrl-C ends a reply or leaves."""
    from backprop_core.config.chats import ChatMessage
    from backpropagate.cli.render import talk

    question = asked("x", system, thinking, sampling)
    start = list(question.messages[:-1])
    with _opened(source) as (pool, found):
        talk(f"{found.name} ({found.kind}); /new begins anew, /exit leaves")
        turns = list(start)
        while (line := _read_line()) is not None:
            if line == _NEW:
                turns = list(start)
                talk("a new conversation")
                continue
            turns.append(ChatMessage(role="user", content=line))
            try:
                with _Interrupt() as interrupt:
                    reply, _ = _answer(pool, found, "tuned", _with(question, turns), interrupt)
            except BackpropagateError as error:
                # The next question finds the model loaded anew.
                turns.pop()
                talk(f"[{error.code}]: {error.message}")
                talk(f"hint: {error.hint}")
                continue
            turns.append(ChatMessage(role="assistant", content=reply))
    return ExitCode.OK


class _Interrupt:
    """Notes Ctrl-C while a reply is written; pressed twice it leaves the command."""

    def __init__(self) -> None:
        self.is_set = False

    def __enter__(self) -> _Interrupt:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[ChatPool, ChatSource]]:
    """Yield an empty pool and what is asked for; every model is put away at the end."""
    from backprop_core.services.chat_sources import find_chat
    from backprop_core.services.chats import ChatPool
    from backpropagate.cli.opening import workspace

    with workspace() as ws:
        found = find_chat(ws, source, face="cli")
        with contextlib.closing(ChatPool(ws.home)) as pool:
            yield pool, found


def _answer(
    pool: ChatPool,
    source: ChatSource,
    side: Side,
    question: Asked,
    interrupt: _Interrupt,
    *,
    is_shown: bool = True,
) -> tuple[str, Finished]:
    """Write a reply to standard output as it comes and return it with how it ended."""
    from backprop_core.config.chats import Finished
    from backprop_core.services.chats import reply
    from backpropagate.cli.render import talk

    spec = source.spec(side)
    if pool.ready(spec) is None:
        talk(f"loading {source.name if side == 'tuned' else source.base_name}")
    text = ""
    for told in reply(pool, spec, side, question, is_unwanted=lambda: interrupt.is_set):
        if isinstance(told, Finished):
            ending = told
            break
        text += told.text
        if is_shown:
            _say(told.text)
    if is_shown:
        _say("\n")
    return text, ending


def _with(question: Asked, turns: list[Any]) -> Asked:
    import dataclasses

    return dataclasses.replace(question, messages=tuple(turns))


def _read_line() -> str | None:
    """Return what the user typed, None when they leave; empty lines are asked again."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return None
        if line in _LEAVE:
            return None
        if line:
            return line


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
