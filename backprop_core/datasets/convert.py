"""Turns one row of any format into a `Conversation`, without loss, or names what is wrong with it.

Null and empty fields are faults of the row: they never become the word "None".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from backprop_core.datasets.detect import (
    ANSWER_COLUMNS,
    CHAT_COLUMNS,
    COMPLETION_COLUMNS,
    INSTRUCTION_ANSWERS,
    PROMPT_COLUMNS,
    QUESTION_COLUMNS,
    TEXT_COLUMNS,
    Layout,
    first_of,
    layout_of,
)
from backprop_core.datasets.rows import Conversation, Message, Role, RowCode, RowFault, RowProblem, ToolCall

MAX_DEPTH: Final = 64
_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
_CALL_ROLE: Final = "function_call"
_PLAIN_ANSWERS: Final = ("assistant", "gpt")
_PLAIN_OTHERS: Final = ("user", "human", "system")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Columns named by hand, for files whose own names say nothing.

    Args:
        prompt: column of what the user says; needs `completion`.
        completion: column of what the assistant answers.
        system: column of the system turn.
        text: column of raw text; excludes the others.
        chat: column of a list of turns; excludes the others.
    """

    prompt: str | None = None
    completion: str | None = None
    system: str | None = None
    text: str | None = None
    chat: str | None = None

    def apply(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `row` under the names that the detection knows."""
        if self.chat is not None:
            turns = row.get(self.chat)
            return {"messages": turns, "tools": row.get("tools")}
        if self.text is not None:
            return {"text": row.get(self.text)}
        named = {"prompt": self.prompt, "completion": self.completion, "system": self.system}
        return {ours: row.get(theirs) for ours, theirs in named.items() if theirs is not None}


def convert(
    row: Mapping[str, Any], number: int, mapping: ColumnMap | None = None
) -> Conversation | RowProblem:
    """Return the conversation in `row`, judged by the row's own format.

    Args:
        row: the parsed row.
        number: its number in the file.
        mapping: columns named by hand.
    """
    if mapping is not None:
        row = mapping.apply(row)
    layout = layout_of(row)
    try:
        return _CONVERTERS[layout](row, number)
    except RowFault as fault:
        return fault.at(number)


def layout_if_plain(row: Mapping[str, Any]) -> Layout | None:
    """Return the format of a row that is a plain chat without a fault, else None.

    The quick way through files of a hundred megabytes: what it accepts, `convert` accepts too;
    everything else is for `convert` to judge.
    """
    turns = row["conversations"] if "conversations" in row else row.get("messages")
    if type(turns) is not list or not turns or "tools" in row or "functions" in row:
        return None
    first = turns[0]
    is_openai = type(first) is dict and "role" in first
    speaker, said = ("role", "content") if is_openai else ("from", "value")
    has_answer = False
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2 or said not in turn:
            return None
        text = turn[said]
        if type(text) is not str or not text or text.isspace():
            return None
        role = turn.get(speaker)
        if role in _PLAIN_ANSWERS:
            has_answer = True
        elif role not in _PLAIN_OTHERS:
            return None
    if not has_answer:
        return None
    return Layout.OPENAI if is_openai else Layout.SHAREGPT


def _from_chat(row: Mapping[str, Any], number: int) -> Conversation:
    column = first_of(row, CHAT_COLUMNS) or "messages"
    turns = _list_of_turns(row[column], column)
    messages = [_message(turn, index, column) for index, turn in enumerate(turns, 1)]
    system = row.get("system")
    if isinstance(system, str) and system.strip() and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    return _conversation(messages, number, _tools(row))


def _list_of_turns(turns: Any, column: str) -> Sequence[Any]:
    if isinstance(turns, str) and turns.lstrip().startswith("["):
        # CSV and Parquet files carry chats as a JSON string.
        turns = _json(turns, column)
    if turns is None:
        raise RowFault(RowCode.FIELD_NULL, f"`{column}` is null")
    if not isinstance(turns, list):
        raise RowFault(RowCode.FIELD_TYPE, f"`{column}` is not a list of turns")
    if not turns:
        raise RowFault(RowCode.FIELD_EMPTY, f"`{column}` has no turns")
    return turns


def _message(turn: Any, index: int, column: str) -> Message:
    place = f"turn {index} of `{column}`"
    if not isinstance(turn, Mapping):
        raise RowFault(RowCode.FIELD_TYPE, f"{place} is not an object")
    spoken = turn.get("role", turn.get("from"))
    if spoken is None:
        raise RowFault(RowCode.FIELD_MISSING, f"{place} does not say who speaks")
    role = _ROLES.get(spoken) or _ROLES.get(spoken.strip().lower()) if isinstance(spoken, str) else None
    if role is None:
        raise RowFault(RowCode.ROLE_UNKNOWN, f"{place} has the unknown role {str(spoken)[:40]!r}")
    content = turn["content"] if "content" in turn else turn.get("value", turn.get("text"))
    if spoken == _CALL_ROLE:
        return Message("assistant", "", tool_calls=(_call(_json(content, place), place),))
    calls = _calls(turn, place) if role == "assistant" else ()
    may_be_empty = bool(calls) or role == "tool"
    return Message(
        role,
        _text(content, place, may_be_empty=may_be_empty),
        tool_calls=calls,
        reasoning=_optional_text(turn.get("reasoning_content", turn.get("reasoning"))),
        name=_optional_text(turn.get("name")),
        tool_call_id=_optional_text(turn.get("tool_call_id")),
        trains=turn.get("weight") != 0,
    )


def _text(content: Any, place: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a field, joined when it comes in parts."""
    if isinstance(content, list):
        content = "".join(_part(part, place) for part in content)
    if content is None:
        if may_be_empty:
            return ""
        raise RowFault(RowCode.FIELD_NULL, f"{place} has no content (null)")
    if not isinstance(content, str):
        raise RowFault(RowCode.FIELD_TYPE, f"the content of {place} is not text")
    if not may_be_empty and not content.strip():
        raise RowFault(RowCode.FIELD_EMPTY, f"the content of {place} is empty")
    return content


def _part(part: Any, place: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        kind = part.get("type", "text")
        if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
            return str(part["text"])
        if kind != "text":
            raise RowFault(RowCode.MEDIA, f"{place} holds {str(kind)[:20]!r}; only text can be trained on")
    raise RowFault(RowCode.FIELD_TYPE, f"a part of {place} is not text")


def _optional_text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _calls(turn: Mapping[str, Any], place: str) -> tuple[ToolCall, ...]:
    calls = turn.get("tool_calls")
    if calls is None and turn.get("function_call") is not None:
        calls = [turn["function_call"]]
    if not calls:
        return ()
    if not isinstance(calls, list):
        raise RowFault(RowCode.FIELD_TYPE, f"`tool_calls` of {place} is not a list")
    return tuple(_call(call, place) for call in calls)


def _call(call: Any, place: str) -> ToolCall:
    body = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(body.get("name"), str):
        raise RowFault(RowCode.FIELD_MISSING, f"a tool call of {place} has no function name")
    arguments = body.get("arguments", body.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json(arguments, place) if arguments.strip() else {}
    if not isinstance(arguments, Mapping):
        raise RowFault(RowCode.FIELD_TYPE, f"the arguments of a tool call of {place} are not an object")
    _check_depth(arguments, place)
    identity = call.get("id")
    return ToolCall(body["name"], arguments, identity if isinstance(identity, str) else None)


def _tools(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    tools = row.get("tools", row.get("functions"))
    if isinstance(tools, str) and tools.strip():
        tools = _json(tools, "`tools`")
    if not tools:
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise RowFault(RowCode.FIELD_TYPE, "`tools` is not a list of objects")
    _check_depth(tools, "`tools`")
    return tuple(tool if "function" in tool else {"type": "function", "function": tool} for tool in tools)


def _json(text: Any, place: str) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RowFault(RowCode.NOT_JSON, f"{place} holds a string that is not JSON") from error


def _check_depth(value: Any, place: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, Mapping | list)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        if not level:
            return
    raise RowFault(RowCode.TOO_DEEP, f"{place} nests deeper than {MAX_DEPTH} levels")


def _conversation(
    messages: Sequence[Message], number: int, tools: tuple[Mapping[str, Any], ...] = ()
) -> Conversation:
    if not any(message.role == "assistant" for message in messages):
        raise RowFault(RowCode.NO_ASSISTANT, "no assistant turn: there is nothing to learn from")
    return Conversation(tuple(messages), number, tools)


def _column(row: Mapping[str, Any], names: Sequence[str]) -> str:
    name = first_of(row, names) or names[0]
    return _text(row.get(name), f"`{name}`")


def _with_system(row: Mapping[str, Any], messages: list[Message]) -> list[Message]:
    system = row.get("system", row.get("system_prompt"))
    if isinstance(system, str) and system.strip():
        return [Message("system", system), *messages]
    return messages


def _exchange(row: Mapping[str, Any], number: int, asked: str, answered: str) -> Conversation:
    messages = [Message("user", asked), Message("assistant", answered)]
    return _conversation(_with_system(row, messages), number)


def _from_alpaca(row: Mapping[str, Any], number: int) -> Conversation:
    asked = _text(row["instruction"], "`instruction`")
    extra = row.get("input", row.get("context"))
    if isinstance(extra, str) and extra.strip():
        asked = f"{asked}\n\n{extra}"
    return _exchange(row, number, asked, _column(row, INSTRUCTION_ANSWERS))


def _from_prompt_completion(row: Mapping[str, Any], number: int) -> Conversation:
    prompt = row[first_of(row, PROMPT_COLUMNS) or "prompt"]
    completion = row[first_of(row, COMPLETION_COLUMNS) or "completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = [*prompt, *completion]
        messages = [_message(turn, index, "prompt") for index, turn in enumerate(turns, 1)]
        return _conversation(messages, number, _tools(row))
    return _exchange(row, number, _text(prompt, "`prompt`"), _text(completion, "`completion`"))


def _from_question_answer(row: Mapping[str, Any], number: int) -> Conversation:
    return _exchange(row, number, _column(row, QUESTION_COLUMNS), _column(row, ANSWER_COLUMNS))


def _from_text(row: Mapping[str, Any], number: int) -> Conversation:
    return Conversation((), number, text=_column(row, TEXT_COLUMNS))


def _refuse(row: Mapping[str, Any], number: int) -> Conversation:
    columns = ", ".join(f"`{str(name)[:30]}`" for name in list(row)[:5]) or "no columns"
    raise RowFault(RowCode.LAYOUT_UNKNOWN, f"{columns}: not the columns of a known format")


_CONVERTERS: Final = {
    Layout.SHAREGPT: _from_chat,
    Layout.OPENAI: _from_chat,
    Layout.ALPACA: _from_alpaca,
    Layout.PROMPT_COMPLETION: _from_prompt_completion,
    Layout.QUESTION_ANSWER: _from_question_answer,
    Layout.TEXT: _from_text,
    Layout.UNKNOWN: _refuse,
}
