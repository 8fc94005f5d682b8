"""Text to token ids as transformers does it, from a prepared model folder, without importing it.

Holds the tokenizer, the chat template with its source, and what the template puts around turns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.decoders import DecodeStream

from backprop_core.datasets.rendering import TemplateSetup, make_renderer
from backprop_core.datasets.rows import Conversation, Message, RowProblem
from backprop_core.datasets.template import CHATML, PLAIN
from backprop_core.datasets.turns import Rendered
from backprop_core.errors import DependencyError

TemplateOrigin = Literal["model", "given", "chatml", "plain"]
_SPECIAL: Final = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class ChatTokenizer:
    """Tokenizer and chat template of one model.

    Args:
        tokenizer: the fast tokenizer.
        special_tokens: names such as `eos_token` with their strings.
        template: Jinja text of the chat template; without one a plain form is used and
            `template_origin` says so.
        origin: where the template came from.
        enable_thinking: the one setting for thinking models, the same in training, proof and chat.
        today: the date for templates that print one; fixed, so that a run sees one text.
        isolate: whether a template that nobody here has read is rendered in a limited child.

    Raises:
        DependencyError: DEP_MODEL_LOAD_FAILED, the template is not valid, or it ran into a limit.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        special_tokens: Mapping[str, str],
        template: str | None = None,
        *,
        origin: TemplateOrigin = "model",
        enable_thinking: bool = False,
        today: datetime | None = None,
        isolate: bool = False,
    ) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.special_tokens = dict(special_tokens)
        if template is None:
            origin = "plain" if tokenizer.token_to_id("<|im_start|>") is None else "chatml"
            template = PLAIN if origin == "plain" else CHATML
            self.special_tokens.setdefault("eos_token", "")
        self.template_origin: TemplateOrigin = origin
        self.options: dict[str, Any] = {"enable_thinking": enable_thinking}
        self.setup = TemplateSetup(
            template,
            self.special_tokens,
            tuple(_control_tokens(tokenizer, self.special_tokens, template)),
            self.options,
            today or datetime.now(),
        )
        self._renderer = make_renderer(self.setup, isolate=isolate)
        self.shape = self._renderer.shape
        self.eos_id: int | None = tokenizer.token_to_id(self.special_tokens.get("eos_token", ""))
        self.bos_id: int | None = tokenizer.token_to_id(self.special_tokens.get("bos_token", ""))
        self.end_of_turn_id: int | None = tokenizer.token_to_id(self.shape.end) if self.shape.end else None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        template: str | None = None,
        enable_thinking: bool = False,
        today: datetime | None = None,
        isolate: bool = True,
    ) -> ChatTokenizer:
        """Load tokenizer and template from a model folder.

        Args:
            folder: holds `tokenizer.json`, `tokenizer_config.json` and maybe `chat_template.jinja`.
            template: Jinja text to use instead of the model's own.
            enable_thinking: whether thinking models think.
            today: the date for templates that print one.
            isolate: whether a template that nobody here has read is rendered in a limited child.

        Raises:
            DependencyError: DEP_MODEL_LOAD_FAILED, a file is missing or damaged, or the template
                ran into a limit.
        """
        tokenizer = _load_tokenizer(folder / "tokenizer.json")
        config = _read_object(folder / "tokenizer_config.json")
        special = _special_tokens(folder, config)
        _add_missing_tokens(tokenizer, config)
        source = template if template is not None else model_template(folder, config)
        origin: TemplateOrigin = "given" if template is not None else "model"
        return cls(
            tokenizer,
            special,
            source,
            origin=origin,
            enable_thinking=enable_thinking,
            today=today,
            isolate=isolate,
        )

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def fingerprint(self) -> str:
        """Digest of everything that decides over ids and masks."""
        digest = hashlib.sha256(self._tokenizer.to_str().encode())
        digest.update(self.setup.source.encode())
        day = self.setup.today.date() if "strftime_now" in self.setup.source else None
        digest.update(orjson.dumps([self.special_tokens, self.options, day], option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest()

    def render_many(self, conversations: Sequence[Conversation]) -> list[Rendered | RowProblem]:
        """Return the text of each conversation and where its turns lie, or why it has none."""
        return self._renderer.render_many(conversations)

    def render_prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return the text that asks the model for the next answer.

        Raises:
            RowFault: the template refuses the messages.
        """
        return self._renderer.render_prompt(messages, tools)

    def encode_texts(self, texts: Sequence[str]) -> list[Encoding]:
        """Tokenize many rendered texts at once; no token is added."""
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of one text; no token is added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of token ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def text_stream(self) -> Callable[[int], str]:
        """Return a function that turns the tokens of a reply, one after another, into the text so far unseen.

        Characters of several tokens come whole; control tokens give nothing.
        """
        stream = DecodeStream(skip_special_tokens=True)
        return lambda token_id: stream.step(self._tokenizer, token_id) or ""

    def token_text(self, token_id: int) -> str:
        """Return one token as it is shown to people."""
        return self.decode([token_id])


def model_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the chat template of a model folder: its file first, then its tokenizer configuration."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        by_name = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = by_name.get("default")
    return template if isinstance(template, str) and template else None


def _load_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"The model folder has no readable {path.name!r}.",
            hint="Fetch the model again.",
        ) from error
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, UnicodeError):
            raise
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"The file {path.name!r} of the model is damaged.",
            hint="Fetch the model again.",
        ) from error


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DependencyError(
            "DEP_MODEL_LOAD_FAILED",
            f"The file {path.name!r} of the model is damaged.",
            hint="Fetch the model again.",
        ) from error
    return value if isinstance(value, dict) else {}


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    named = {**_read_object(folder / "special_tokens_map.json"), **config}
    found = {}
    for name in _SPECIAL:
        value = named.get(name)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _add_missing_tokens(tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    """Add the tokens that only `tokenizer_config.json` knows, in the order of their ids."""
    known = tokenizer.get_added_tokens_decoder()
    declared = config.get("added_tokens_decoder") or {}
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for number in sorted(map(int, declared)):
        entry = declared[str(number)]
        if number not in known:
            options = {flag: bool(entry[flag]) for flag in flags if flag in entry}
            tokenizer.add_tokens([AddedToken(entry["content"], **options)])


def _control_tokens(tokenizer: Tokenizer, special: Mapping[str, str], template: str) -> list[str]:
    """Return the tokens that build turns: those the template prints, and all of the form `<|...|>`."""
    tokens = {special[name] for name in ("bos_token", "eos_token") if special.get(name)}
    for token in tokenizer.get_added_tokens_decoder().values():
        text = token.content
        if token.special and (text in template or (text.startswith("<|") and text.endswith("|>"))):
            tokens.add(text)
    return sorted(tokens)
