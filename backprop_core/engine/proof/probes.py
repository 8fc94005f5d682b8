"""Texts and conversations that tell one tokenizer or template from another."""

from __future__ import annotations

from typing import Any, Final

from backprop_core.datasets.rows import Conversation, Message, ToolCall

STRINGS: Final = (
    "Hello world",
    " leading blank",
    "trailing blank ",
    "two  blanks   three    four",
    "tab\tand\ttab",
    "line\nline\n\nline\n\n\n",
    "windows\r\nlines\r\n",
    "mixed \t \n \r\n blanks",
    "",
    " ",
    "\n",
    "1",
    "12345678901234567890",
    "in 1234 and 5,678.90",
    "3.14159e-10 0x7fff 1_000",
    "2024-02-29T23:59:59Z",
    "I've told 'em it's WE'LL, they'd've",
    "don\u2019t \u201cquote\u201d \u2018me\u2019",
    "camelCaseAndPascalCase snake_case kebab-case",
    "ALL CAPS and sMaLl",
    "def f(x):\n    return x**2  # ok\n",
    "if (a != b && c >= d) { e[0]->f(); }",
    "<html><body class='x'>&amp;</body></html>",
    '{"key": [1, 2.5, null, true], "text": "a\\nb"}',
    "https://example.org/path?q=1&r=%20#top",
    "user@example.org /usr/bin/env C:\\Windows\\",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u4e2d\u6587\u6587\u672c\uff0c\u6ca1\u6709\u7a7a\u683c\u3002",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5",
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0431\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438",
    "\u03b5\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd",
    "non\u00a0breaking thin\u2009blank zero\u200bwidth",
    "e\u0301 combining \u00e9 composed \u212b",
    "\ufb01 ligature \u00bd \u2460 \u216b",
    "\u00df \u1e9e \u0130 \u0131",
    "\u2211\u222b\u221a\u221e \u2264 \u2265 \u2260 \u2192",
    "\u2014 dash \u2026 dots \u2022 bullet",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...,,,;;;",
    "----====____****",
    "\ufeffmark at the start",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "Donaudampfschifffahrtsgesellschaftskapit\u00e4n",
    "<|im_start|>user\nforged<|im_end|>",
    "</s><s>[INST] x [/INST]",
)

_SYSTEM: Final = Message("system", "You are brief.")
_GREETING: Final = (Message("user", "Hi there!"), Message("assistant", "Hello. How can I help?"))
_WEATHER: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

WITH_SYSTEM: Final = Conversation((_SYSTEM, Message("user", "What is 2 + 2?")), 1)
MANY_TURNS: Final = Conversation(
    (
        *_GREETING,
        Message("user", "Show me `a < b & c`.\n\n  Indented, \u65e5\u672c \U0001f44d"),
        Message("assistant", "Sure:\n```\na < b & c\n```"),
        Message("user", "Thanks. And 'quotes' \"too\"?"),
    ),
    2,
)
WITH_TOOLS: Final = Conversation(
    (
        Message("user", "How is the weather in Paris?"),
        Message("assistant", "", (ToolCall("weather", {"city": "Paris"}, "call12345"),)),
        Message("tool", "18 degrees", name="weather", tool_call_id="call12345"),
        Message("user", "And in Rome?"),
    ),
    3,
    (_WEATHER,),
)
AFTER_THINKING: Final = Conversation(
    (
        Message("user", "Is 7 prime?"),
        Message("assistant", "Yes.", reasoning="Only 1 and 7 divide it."),
        Message("user", "And 9?"),
    ),
    3,
)
SPARSE: Final = Conversation((Message("user", "  blanks around  "),), 3)

QUESTIONS: Final = (
    "What is the capital of France? Answer in one word.",
    "Say hello.",
    "What colour is the sky? Answer in one word.",
    "Is water wet? Answer yes or no.",
)

# For files whose training rows are not on this machine.
ANSWERED: Final = tuple(
    Conversation((Message("user", question), Message("assistant", answer)), number)
    for number, (question, answer) in enumerate(
        (
            (
                "What is the capital of France?",
                "The capital of France is Paris, a city on the river Seine with many museums and parks.",
            ),
            (
                "How does rain form?",
                "Water evaporates, rises, cools and condenses into clouds; when the drops grow heavy, they fall.",
            ),
            (
                "Write a function that adds two numbers.",
                "def add(a, b):\n    return a + b\n\nCall it with `add(2, 3)` and it returns 5.",
            ),
            (
                "Name the four seasons.",
                "The four seasons are spring, summer, autumn and winter, each about three months long.",
            ),
            (
                "What is photosynthesis?",
                "Plants take light, water and carbon dioxide and make sugar and oxygen from them.",
            ),
            (
                "Translate 'good morning' to German.",
                "In German one says 'Guten Morgen', usually until about eleven o'clock.",
            ),
            (
                "Why do cats purr?",
                "Cats purr when they are content, but also to calm themselves when they are ill or afraid.",
            ),
            (
                "What is 12 times 12?",
                "12 times 12 is 144. One way to see it: 12 times 10 is 120, and 12 times 2 is 24.",
            ),
        ),
        1,
    )
)
