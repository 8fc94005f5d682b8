"""Renders the chat template of a model exactly as transformers does, and reports where turns lie.

The sandbox stops a template from reaching Python; it does not stop one that never ends. Templates
from elsewhere are rendered in a child process with limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from backprop_core.datasets.rows import Message

# What an expression inside a template may raise on data its author did not foresee.
RENDER_ERRORS: Final = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN: Final = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ 'User: ' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


class _GenerationTracker(jinja2.ext.Extension):
    """Understands `{% generation %}` blocks and notes the characters that they produced."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.pieces: list[str] | None = None
        self.spans: list[tuple[int, int]] = []

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Callable[[], str]) -> str:
        produced = caller()
        if self.pieces is not None:
            start = sum(map(len, self.pieces))
            self.spans.append((start, start + len(produced)))
        return produced


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the Jinja text.
        special_tokens: names such as `bos_token` that the template may print.
        now: gives the date to templates that print it.

    Raises:
        jinja2.TemplateSyntaxError: the text is not a template.
    """

    def __init__(
        self, source: str, special_tokens: Mapping[str, str], now: Callable[[], datetime] = datetime.now
    ) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTracker, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = lambda pattern: now().strftime(pattern)
        self._tracker: _GenerationTracker = next(
            e for e in environment.extensions.values() if isinstance(e, _GenerationTracker)
        )
        self._template = environment.from_string(source)
        # A plain dict: the chained one of jinja2 is copied key by key at every rendering.
        self._template.globals = dict(self._template.globals)
        self.has_generation_marks = any(
            isinstance(node.call, jinja2.nodes.Call)
            and isinstance(node.call.node, jinja2.nodes.ExtensionAttribute)
            and node.call.node.name == "_note"
            for node in environment.parse(source).find_all(jinja2.nodes.CallBlock)
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text of a conversation.

        Raises:
            RENDER_ERRORS: the template refuses the conversation or stumbles over it.
        """
        return self._template.render(self._names(messages, tools, add_generation_prompt, options))

    def render_with_marks(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the text and the character spans of its `{% generation %}` blocks."""
        tracker = self._tracker
        pieces: list[str] = []
        tracker.pieces, tracker.spans = pieces, []
        try:
            for piece in self._template.generate(self._names(messages, tools, False, options)):
                pieces.append(piece)
        finally:
            tracker.pieces = None
        return "".join(pieces), tracker.spans

    def _names(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        options: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        return {
            **self._special_tokens,
            **(options or {}),
            "messages": messages,
            "tools": tools or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }


def as_dict(message: Message) -> dict[str, Any]:
    """Return a message under the names that chat templates use."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
                **({"id": call.id} if call.id else {}),
            }
            for call in message.tool_calls
        ]
    if message.reasoning is not None:
        turn["reasoning_content"] = message.reasoning
    if message.name is not None:
        turn["name"] = message.name
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON without HTML escapes, which the filter of jinja2 itself would add."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
