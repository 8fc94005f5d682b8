"""What a chat template puts around an answer, learned by rendering a made-up conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backprop_core.datasets.template import RENDER_ERRORS, ChatTemplate

STAND_IN: Final = "Zorblat"
_USER: Final = "Quxley"
_SYSTEM: Final = "Vimmerby"


@dataclass(frozen=True, slots=True)
class TurnShape:
    """What a template puts around an answer, learned from a made-up conversation.

    Args:
        prompt: text that `add_generation_prompt` adds.
        past: text before an answer that another turn follows; thinking models print less there.
        lead: text between that prompt and the answer.
        gap: text between the answer and the end-of-turn token.
        end: the end-of-turn token, empty when the template has none.
        takes_system: whether the template prints a system turn before a finished exchange.
    """

    prompt: str = ""
    past: str = ""
    lead: str = ""
    gap: str = ""
    end: str = ""
    takes_system: bool = True


def learn_shape(template: ChatTemplate, ends: Sequence[str], options: Mapping[str, Any]) -> TurnShape:
    """Return what `template` puts around an answer.

    Args:
        template: the template.
        ends: every control token of the tokenizer.
        options: names such as `enable_thinking` that the template may read.
    """
    asked = {"role": "user", "content": _USER}
    answered = {"role": "assistant", "content": STAND_IN}
    try:
        prompt = template.render([asked], add_generation_prompt=True, options=options)
        bare = template.render([asked], options=options)
        full = template.render([asked, answered], options=options)
        longer = template.render([asked, answered, asked], options=options)
    except RENDER_ERRORS:
        return TurnShape()
    where = full.find(STAND_IN)
    if where < 0:
        return TurnShape()
    lead = full[len(prompt) : where] if full.startswith(prompt) else ""
    tail = full[where + len(STAND_IN) :]
    found = min(((tail.find(token), -len(token), token) for token in ends if token in tail), default=None)
    gap, end = ("", "") if found is None else (tail[: found[0]], found[2])
    before = longer[: max(0, longer.find(STAND_IN))]
    past = before[len(bare) :] if before.startswith(bare) else ""
    takes_system = _takes_system(template, [asked, answered], options)
    return TurnShape(prompt[common_prefix(prompt, bare) :], past, lead, gap, end, takes_system)


def _takes_system(
    template: ChatTemplate, turns: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> bool:
    try:
        return _SYSTEM in template.render([{"role": "system", "content": _SYSTEM}, *turns], options=options)
    except RENDER_ERRORS:
        return False


def common_prefix(left: str, right: str) -> int:
    """Return the length of the common beginning, by halving."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left.startswith(right[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low
