"""Renders a conversation and finds the characters of each turn in the result.

Where `{% generation %}` blocks do not say it, each content is rendered a second time between
marks; the rendering counts only if it equals the plain one once the marks are taken out. Turns
that a template rewrites (thinking, tool calls) are found by the prompt that precedes them.
An answer begins after the generation prompt and ends with the end-of-turn token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from backprop_core.datasets.control import ControlTokens
from backprop_core.datasets.rows import Conversation, Message, Role, RowCode, RowFault
from backprop_core.datasets.shape import STAND_IN, TurnShape, common_prefix
from backprop_core.datasets.template import RENDER_ERRORS, ChatTemplate, as_dict

# Noncharacters of Unicode: no text for exchange contains them.
_OPEN: Final = "\ufdd0"
_CLOSE: Final = "\ufdd1"
_INDEX: Final = 0xF0000
_PLAIN_KEYS: Final = frozenset(("role", "content"))


@dataclass(frozen=True, slots=True)
class CharSpan:
    """Characters `[start, end)` of one turn in the rendered text."""

    role: Role
    start: int
    end: int
    has_loss: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of a conversation and where its turns lie, in order of the text."""

    text: str
    spans: tuple[CharSpan, ...]
    n_neutralized: int = 0
    loses_reasoning: bool = False


class TurnRenderer:
    """Renders conversations with one template.

    Args:
        template: the chat template.
        control: what may not act as a control token inside the data.
        shape: what the template puts around an answer.
        options: names such as `enable_thinking` that the template may read.
    """

    def __init__(
        self, template: ChatTemplate, control: ControlTokens, shape: TurnShape, options: Mapping[str, Any]
    ) -> None:
        self._template = template
        self._control = control
        self._shape = shape
        self._options = dict(options)
        self._is_thinking_off = (
            options.get("enable_thinking") is False and "enable_thinking" in template.source
        )

    def render(self, conversation: Conversation) -> Rendered:
        """Return the text of a conversation and its turns.

        Raises:
            RowFault: the template refuses the conversation, or its answers cannot be told apart.
        """
        messages = conversation.messages
        if messages[0].role == "system" and not self._shape.takes_system:
            messages = _fold_system(messages)
        turns, n_neutralized = self._turns(messages)
        tools, n_in_tools = self._control.neutralize_value(conversation.tools)
        try:
            rendered = self._from_generation_marks(messages, turns, tools)
            if rendered is None:
                rendered = self._from_content_marks(messages, turns, tools)
        except RENDER_ERRORS as error:
            raise RowFault(
                RowCode.TEMPLATE_REFUSED, f"the chat template refuses this row: {_first_line(error)}"
            ) from error
        text, spans = rendered
        _check_answers(text, spans, messages, turns)
        return Rendered(
            text,
            tuple(sorted(spans, key=lambda span: span.start)),
            n_neutralized + n_in_tools,
            any(_loses_reasoning(message, text) for message in messages),
        )

    def _turns(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], int]:
        turns = []
        total = 0
        for message in messages:
            turn = as_dict(message)
            if self._is_thinking_off and _is_rewritten(turn):
                _drop_thinking(turn)
            turn["content"], total = self._neutralize(turn["content"], total)
            for key in turn.keys() - _PLAIN_KEYS:
                turn[key], total = self._neutralize(turn[key], total)
            turns.append(turn)
        return turns, total

    def _neutralize(self, value: Any, total: int) -> tuple[Any, int]:
        value, count = self._control.neutralize_value(value)
        return value, total + count

    def _from_generation_marks(
        self, messages: Sequence[Message], turns: list[dict[str, Any]], tools: list[Any]
    ) -> tuple[str, list[CharSpan]] | None:
        """Return text and answers by the template's own blocks, or nothing when they do not fit."""
        if not self._template.has_generation_marks:
            return None
        text, blocks = self._template.render_with_marks(turns, tools=tools, options=self._options)
        answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
        if len(blocks) != len(answers):
            return None
        spans = []
        for index, (start, end) in zip(answers, blocks, strict=True):
            if turns[index]["content"].strip() not in text[start:end]:
                return None
            inner = self._trim_block(text, start, end)
            spans.append(CharSpan("assistant", *inner, has_loss=messages[index].trains))
        return text, spans

    def _trim_block(self, text: str, start: int, end: int) -> tuple[int, int]:
        """Cut the generation prompt and what follows the end-of-turn token off a block."""
        prompt, stop = self._shape.prompt, self._shape.end
        if prompt:
            where = text.find(prompt, max(0, start - len(prompt)), start + len(prompt))
            if where >= 0:
                start = where + len(prompt)
        if stop:
            where = text.rfind(stop, start, end)
            if where >= 0:
                end = where + len(stop)
        return start, end

    def _from_content_marks(
        self, messages: Sequence[Message], turns: list[dict[str, Any]], tools: list[Any]
    ) -> tuple[str, list[CharSpan]]:
        text = self._template.render(turns, tools=tools, options=self._options)
        contents = self._content_spans(text, turns, tools)
        starts = sorted(start for start, _ in contents.values())
        spans: list[CharSpan] = []
        for index, message in enumerate(messages):
            content = contents.get(index)
            if message.role != "assistant":
                if content is not None:
                    spans.append(CharSpan(message.role, *content, has_loss=False))
                elif turns[index]["content"].strip() not in text:
                    raise RowFault(
                        RowCode.TEMPLATE_DROPS,
                        f"the chat template leaves out turn {index + 1} ({message.role})",
                    )
                continue
            turn = turns[index]
            if content is not None and not _is_rewritten(turn):
                start, end = self._around_content(text, turn["content"], content)
            else:
                start = self._start_by_prompt(text, turns, index, tools)
                end = self._find_end(text, start if content is None else content[1], starts)
            if content is not None and end <= content[1] and message.tool_calls:
                end = self._find_end(text, content[1], starts)
            spans.append(CharSpan("assistant", start, end, message.trains))
        return text, spans

    def _content_spans(
        self, text: str, turns: list[dict[str, Any]], tools: list[Any]
    ) -> dict[int, tuple[int, int]]:
        """Return where the content of each turn lies in `text`, surrounding blanks left out.

        Nothing is returned when the template renders marked contents differently.
        """
        if _OPEN in text or _CLOSE in text:
            return {}
        marked = [_mark(turn, index) for index, turn in enumerate(turns)]
        try:
            head, *parts = self._template.render(marked, tools=tools, options=self._options).split(_OPEN)
        except RENDER_ERRORS:
            return {}
        pieces = [head]
        position = len(head)
        spans: dict[int, tuple[int, int]] = {}
        for part in parts:
            content, closed, rest = part[1:].partition(_CLOSE)
            index = ord(part[0]) - _INDEX
            if not closed or index in spans:
                return {}
            spans[index] = (position, position + len(content))
            pieces += (content, rest)
            position += len(content) + len(rest)
        return spans if "".join(pieces) == text else {}

    def _around_content(self, text: str, content: str, span: tuple[int, int]) -> tuple[int, int]:
        """Return the answer around its content: blanks the template kept, lead, end-of-turn token."""
        shape = self._shape
        start, end = span
        core = content.strip()
        before = content[: content.index(core)] if core else ""
        after = content[len(before) + len(core) :]
        header = shape.prompt + shape.lead
        kept_before = tuple(text + before for text in (header, shape.past) if text)
        if before and kept_before and text.endswith(kept_before, 0, start):
            start -= len(before)
        if shape.lead and text.endswith(header, 0, start):
            start -= len(shape.lead)
        for kept in (after, ""):
            tail = kept + shape.gap + shape.end
            if text.startswith(tail, end):
                return start, end + len(tail)
        return start, end

    def _start_by_prompt(self, text: str, turns: list[dict[str, Any]], index: int, tools: list[Any]) -> int:
        """Return where an answer begins: where the prompt ends that asks for it."""
        options = self._options
        prompt = self._template.render(
            turns[:index], tools=tools, add_generation_prompt=True, options=options
        )
        if text.startswith(prompt):
            return len(prompt)
        stand_in = [*turns[:index], {"role": "assistant", "content": STAND_IN}, *turns[index + 1 :]]
        other = self._template.render(stand_in, tools=tools, options=options)
        where = other.rfind(STAND_IN)
        common = common_prefix(text, other[:where])
        if where < 0 or (common < where and not other[common:where].isspace()):
            raise _unclear(index)
        return common

    def _find_end(self, text: str, start: int, starts: Sequence[int]) -> int:
        """Return the end of the first end-of-turn token at or after `start`, before the next content."""
        limit = next((other for other in starts if other > start), len(text))
        where = text.find(self._shape.end, start, limit) if self._shape.end else -1
        return where + len(self._shape.end) if where >= 0 else start


def _mark(turn: dict[str, Any], index: int) -> dict[str, Any]:
    content = turn["content"]
    core = content.strip()
    if not core:
        return turn
    before, after = content.split(core, 1) if core != content else ("", "")
    return {**turn, "content": f"{before}{_OPEN}{chr(_INDEX + index)}{core}{_CLOSE}{after}"}


def _is_rewritten(turn: Mapping[str, Any]) -> bool:
    """Whether templates place or drop parts of this answer instead of printing it as it stands."""
    return "reasoning_content" in turn or "</think>" in turn["content"]


def _fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Put the system turn in front of what the user says first, for templates that leave it out.

    Mistral prints it only while an answer is awaited, Gemma refuses it.
    """
    system, *rest = messages
    first = next((index for index, message in enumerate(rest) if message.role == "user"), None)
    if first is None:
        return (replace(system, role="user"), *rest)
    rest[first] = replace(rest[first], content=f"{system.content}\n\n{rest[first].content}")
    return tuple(rest)


def _drop_thinking(turn: dict[str, Any]) -> None:
    """Take the thinking out of an answer, because the model is to answer without it."""
    turn.pop("reasoning_content", None)
    turn["content"] = turn["content"].rsplit("</think>", 1)[-1].lstrip("\n")
    if not turn["content"].strip() and "tool_calls" not in turn:
        raise RowFault(RowCode.FIELD_EMPTY, "an answer is nothing but thinking, and thinking is switched off")


def _loses_reasoning(message: Message, text: str) -> bool:
    reasoning = message.reasoning
    if reasoning is None and "</think>" in message.content:
        reasoning = message.content.split("</think>")[0].split("<think>")[-1]
    return reasoning is not None and reasoning.strip() not in text


def _check_answers(
    text: str, spans: Sequence[CharSpan], messages: Sequence[Message], turns: Sequence[Mapping[str, Any]]
) -> None:
    """Raise unless the answers follow each other, and each holds what the row says."""
    answers = [span for span in spans if span.role == "assistant"]
    asked = [(index, message) for index, message in enumerate(messages) if message.role == "assistant"]
    position = 0
    for (index, message), span in zip(asked, answers, strict=True):
        if span.start < position or span.end <= span.start:
            raise _unclear(index)
        position = span.end
        printed = text[span.start : span.end]
        for call in message.tool_calls:
            if call.name not in printed:
                raise RowFault(
                    RowCode.TEMPLATE_DROPS, f"the chat template leaves out the tool call of turn {index + 1}"
                )
        said = turns[index]["content"].rsplit("</think>", 1)[-1].strip()
        if said not in printed and not message.tool_calls:
            raise _unclear(index)


def _unclear(index: int) -> RowFault:
    return RowFault(
        RowCode.MASK_UNCLEAR,
        f"the answer in turn {index + 1} cannot be told apart in what the chat template prints",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
