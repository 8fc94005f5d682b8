"""Conversations to text, in this process or in a child that can be killed.

The sandbox of the template engine stops neither `{% for %}` loops that never end nor strings of
gigabytes. A template that nobody here has read is therefore rendered in a limited child.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import jinja2
import orjson

from backprop_core.datasets.child import Child, ChildFailed
from backprop_core.datasets.control import ControlTokens
from backprop_core.datasets.rows import Conversation, Message, RowCode, RowFault, RowProblem, ToolCall
from backprop_core.datasets.shape import TurnShape, learn_shape
from backprop_core.datasets.template import CHATML, PLAIN, RENDER_ERRORS, ChatTemplate, as_dict
from backprop_core.datasets.turns import CharSpan, Rendered, TurnRenderer
from backprop_core.errors import DependencyError

PATIENCE_S: Final = 5.0
MEMORY_BYTES: Final = 512 << 20
_REQUEST_BYTES: Final = 4 << 20
# SHA-256 of templates that were read by people: the two of this product and the tutorial model's.
_READ: Final = frozenset(
    [
        hashlib.sha256(CHATML.encode()).hexdigest(),
        hashlib.sha256(PLAIN.encode()).hexdigest(),
        "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
    ]
)


@dataclass(frozen=True, slots=True)
class TemplateSetup:
    """Everything that decides what a template prints.

    Args:
        source: Jinja text.
        special_tokens: names such as `bos_token` with their strings.
        control_tokens: strings that may not act as control tokens inside the data.
        options: names such as `enable_thinking` that the template may read.
        today: the date for templates that print one.
    """

    source: str
    special_tokens: Mapping[str, str]
    control_tokens: tuple[str, ...]
    options: Mapping[str, Any]
    today: datetime

    @property
    def is_foreign(self) -> bool:
        """Whether nobody here has read this template."""
        return hashlib.sha256(self.source.encode()).hexdigest() not in _READ


class Renderer(Protocol):
    """Renders conversations with one template."""

    @property
    def shape(self) -> TurnShape:
        """What the template puts around an answer."""
        ...

    def render_many(self, conversations: Sequence[Conversation]) -> list[Rendered | RowProblem]:
        """Return the text and the turns of each conversation, in order."""
        ...

    def render_prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the text that asks for the next answer.

        Raises:
            RowFault: the template refuses the messages.
        """
        ...


class LocalRenderer:
    """Renders in this process.

    Args:
        setup: the template and its surroundings.

    Raises:
        jinja2.TemplateSyntaxError: the text is not a template.
    """

    def __init__(self, setup: TemplateSetup) -> None:
        self._template = ChatTemplate(setup.source, setup.special_tokens, lambda: setup.today)
        self._options = setup.options
        self._control = ControlTokens(setup.control_tokens)
        self.shape = learn_shape(self._template, setup.control_tokens, setup.options)
        self._turns = TurnRenderer(self._template, self._control, self.shape, setup.options)
        # A template notes its blocks in itself while it renders.
        self._lock = threading.Lock()

    def render_many(self, conversations: Sequence[Conversation]) -> list[Rendered | RowProblem]:
        """Return the text and the turns of each conversation, in order."""
        results: list[Rendered | RowProblem] = []
        for conversation in conversations:
            try:
                with self._lock:
                    results.append(self._turns.render(conversation))
            except RowFault as fault:
                results.append(fault.at(conversation.row))
        return results

    def render_prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the text that asks for the next answer."""
        turns = [self._control.neutralize_value(as_dict(message))[0] for message in messages]
        try:
            return self._template.render(
                turns, tools=list(tools), add_generation_prompt=True, options=self._options
            )
        except RENDER_ERRORS as error:
            raise RowFault(RowCode.TEMPLATE_REFUSED, f"the chat template refuses this: {error}") from error


class ChildRenderer:
    """Renders in a child process with limits on time and memory.

    Args:
        setup: the template and its surroundings.
        patience_s: time for one request.
        memory_bytes: what the child may use beyond its start.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED, the template is not valid, or it ran into a limit.
    """

    def __init__(
        self, setup: TemplateSetup, *, patience_s: float = PATIENCE_S, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._child = Child("render", [], memory_bytes=memory_bytes)
        # Ends the child with this object or with the process, whichever comes first.
        self.close = weakref.finalize(self, self._child.close)
        answer = self._ask(orjson.dumps(asdict(setup)))
        if "syntax" in answer:
            self.close()
            raise _not_valid(*answer["syntax"])
        self.shape = TurnShape(**answer["shape"])

    def render_many(self, conversations: Sequence[Conversation]) -> list[Rendered | RowProblem]:
        """Return the text and the turns of each conversation, in order."""
        results: list[Rendered | RowProblem] = []
        for request in _requests(conversations):
            results += [_rendered(item) for item in self._ask(request)["rows"]]
        return results

    def render_prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """Return the text that asks for the next answer."""
        answer = self._ask(orjson.dumps({"prompt": list(messages), "tools": list(tools)}))
        if "fault" in answer:
            raise RowFault(RowCode.TEMPLATE_REFUSED, answer["fault"])
        return str(answer["text"])

    def _ask(self, request: bytes) -> dict[str, Any]:
        try:
            with self._lock:
                answer: dict[str, Any] = orjson.loads(self._child.ask(request, within_s=self._patience_s))
        except ChildFailed as failure:
            raise DependencyError(
                "DEP_MODEL_LOAD_FAILED",
                f"The chat template of the model was stopped: {failure.sentence}.",
                hint="Use another source of the model, or give a chat template of your own.",
            ) from failure
        return answer


def make_renderer(setup: TemplateSetup, *, isolate: bool) -> Renderer:
    """Return the renderer for a template.

    Args:
        setup: the template and its surroundings.
        isolate: whether a template that nobody here has read goes into a child.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED, the template is not valid, or it ran into a limit.
    """
    if isolate and setup.is_foreign:
        return ChildRenderer(setup)
    try:
        return LocalRenderer(setup)
    except jinja2.TemplateSyntaxError as error:
        raise _not_valid(error.message or "", error.lineno) from error


def serve(request: bytes, renderer: LocalRenderer) -> bytes:
    """Answer one request inside the child."""
    asked = orjson.loads(request)
    if "prompt" in asked:
        messages = [_message(item) for item in asked["prompt"]]
        try:
            return orjson.dumps({"text": renderer.render_prompt(messages, asked["tools"])})
        except RowFault as fault:
            return orjson.dumps({"fault": fault.reason})
    conversations = [
        Conversation(tuple(map(_message, item["messages"])), item["row"], tuple(item["tools"]))
        for item in asked["rows"]
    ]
    return orjson.dumps({"rows": renderer.render_many(conversations)})


def setup_from(request: bytes) -> TemplateSetup:
    """Read the first request of a child."""
    values = orjson.loads(request)
    return TemplateSetup(
        values["source"],
        values["special_tokens"],
        tuple(values["control_tokens"]),
        values["options"],
        datetime.fromisoformat(values["today"]),
    )


def _requests(conversations: Iterable[Conversation]) -> Iterator[bytes]:
    """Yield the conversations as requests of bounded size."""
    rows: list[bytes] = []
    size = 0
    for conversation in conversations:
        row = orjson.dumps(conversation)
        if rows and size + len(row) > _REQUEST_BYTES:
            yield b'{"rows":[' + b",".join(rows) + b"]}"
            rows, size = [], 0
        rows.append(row)
        size += len(row)
    if rows:
        yield b'{"rows":[' + b",".join(rows) + b"]}"


def _message(item: Mapping[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in item["tool_calls"])
    return Message(**{**item, "tool_calls": calls})


def _rendered(item: Mapping[str, Any]) -> Rendered | RowProblem:
    if "code" in item:
        return RowProblem(item["row"], RowCode(item["code"]), item["reason"])
    spans = tuple(CharSpan(**span) for span in item["spans"])
    return Rendered(**{**item, "spans": spans})


def _not_valid(message: str, line: int) -> DependencyError:
    return DependencyError(
        "DEP_MODEL_LOAD_FAILED",
        f"The chat template of the model is not valid: {message} (line {line}).",
        hint="Fetch the model again, or give a template of your own.",
    )
