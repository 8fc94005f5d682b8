"""The tokenizer and the template inside the file against those of the trained model, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backprop_core.engine.proof.subject import Subject
from backprop_core.gguf.contents import read_contents
from backprop_core.gguf.export import open_checkpoint
from backprop_core.gguf.plan import vocabulary_size
from backprop_core.gguf.vocab import read_tokenizer, tokenizer_metadata

_PREFIX: Final = "tokenizer.ggml."
_TEMPLATE: Final = "tokenizer.chat_template"
_ENDS: Final = frozenset({"eos_token_id", "eot_token_id"})
_LISTS: Final = {
    "tokens": "token",
    "merges": "merge",
    "scores": "score of token",
    "token_type": "kind of token",
}
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """How the file's tokenizer compares; each text is a sentence, empty when all is equal.

    Attributes:
        folder: of the trained tokenizer.
        template: of the trained model; None when it has none.
        ends: ids of the tokens that end a reply, by the file.
        adds_begin: whether the engine puts the begin token before a prompt by itself.
        counted: what was compared, in words.
    """

    folder: Path
    template: str | None
    ends: tuple[int, ...]
    adds_begin: bool
    counted: str
    tokenizer_cause: str
    template_cause: str
    end_cause: str


def compare_vocabulary(subject: Subject) -> Vocabulary:
    """Compare all tokens, kinds, merges or scores, special ids and the template.

    Raises:
        InputError: the trained model's folder cannot be read.
    """
    checkpoint = open_checkpoint(subject.model, subject.merged_adapter)
    tokenizer = read_tokenizer(checkpoint.tokenizer_folder, checkpoint.folder)
    rows = vocabulary_size(checkpoint.config, checkpoint.source)
    values = tokenizer_metadata(tokenizer, checkpoint.config.values, rows)
    trained: dict[str, Any] = {key: value.content for key, value in values.items()}
    found = read_contents(subject.file)
    keys = [key.removeprefix(_PREFIX) for key in trained if key.startswith(_PREFIX)]
    causes = {key: _difference(key, trained[_PREFIX + key], found.get(_PREFIX + key)) for key in keys}
    plain = [cause for key, cause in causes.items() if cause and key not in _ENDS]
    return Vocabulary(
        folder=checkpoint.tokenizer_folder,
        template=tokenizer.chat_template,
        ends=tuple(found[_PREFIX + key] for key in sorted(_ENDS) if _PREFIX + key in found),
        adds_begin=bool(found.get(_PREFIX + "add_bos_token", False)),
        counted=", ".join(
            f"{len(trained[_PREFIX + key])} {key}" for key in ("tokens", "merges") if key in keys
        ),
        tokenizer_cause=" ".join(plain[:2]),
        template_cause=_template_difference(tokenizer.chat_template, found.get(_TEMPLATE)),
        end_cause=" ".join(
            _end_difference(key, trained, found) for key in _ENDS & causes.keys() if causes[key]
        ),
    )


def _difference(key: str, trained: Any, found: Any) -> str:
    word = _LISTS.get(key)
    if word is None:
        return "" if trained == found else f"{key} is {found!r} in the file and was {trained!r} in training."
    if not isinstance(found, Sequence) or len(found) != len(trained):
        have = len(found) if isinstance(found, Sequence) else 0
        return f"The file has {have} {key}, the trained tokenizer {len(trained)}."
    wrong = [index for index, pair in enumerate(zip(trained, found, strict=True)) if _differs(*pair)]
    if not wrong:
        return ""
    first = wrong[0]
    others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    was, now = _shown(trained[first]), _shown(found[first])
    return f"The {word} {first} is {now} in the file and was {was} in training{others}."


def _differs(trained: Any, found: Any) -> bool:
    if isinstance(trained, float):
        # The file holds 32 bits of it.
        return abs(trained - float(found)) > 1e-6 * max(1.0, abs(trained))
    return bool(trained != found)


def _shown(value: Any) -> str:
    return repr(value[:_SHOWN] if isinstance(value, str) else value)


def _template_difference(trained: str | None, found: Any) -> str:
    if trained == found:
        return ""
    if trained is None or not isinstance(found, str):
        return f"The file has {'no' if found is None else 'a'} chat template, the trained model {'none' if trained is None else 'one'}."
    at = next(
        (place for place, (a, b) in enumerate(zip(trained, found, strict=False)) if a != b),
        min(len(trained), len(found)),
    )
    return (
        f"The chat template differs from the trained one at character {at}: "
        f"{_shown(found[at : at + 12])} in place of {_shown(trained[at : at + 12])}."
    )


def _end_difference(key: str, trained: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    tokens = trained[_PREFIX + "tokens"]
    was, now = trained[_PREFIX + key], found.get(_PREFIX + key)
    return f"The stop token {key} is {now} in the file and was {was} ({tokens[was]!r}) in training."
