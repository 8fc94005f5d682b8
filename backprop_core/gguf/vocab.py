"""The tokenizer of a model folder as GGUF metadata: tokens, kinds, merges or scores, special ids, template.

Reads `tokenizer.json` and its neighbours as plain JSON; no tokenizer library is loaded and no template
is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from backprop_core.errors import InputError
from backprop_core.gguf.header import Value, f32_list, flag, i32_list, text, text_list, u32
from backprop_core.gguf.pretokenizer import pretokenizer_name
from backprop_core.gguf.sentencepiece import (
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    Piece,
    pieces_from_merges,
    read_pieces,
)

_FILE_BYTES_MAX: Final = 128 << 20
_IDS_MAX: Final = 1 << 24
_TEMPLATE_BYTES_MAX: Final = 4 << 20
_SPECIAL_ROLES: Final = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding"}
_ADDED_SCORE: Final = -1000.0
_PAD_SCORE: Final = -10000.0


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The parsed files of one tokenizer and the chat template that goes with it."""

    folder: Path
    tokenizer: Mapping[str, Any]
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    chat_template: str | None

    @property
    def added(self) -> Sequence[Mapping[str, Any]]:
        """Tokens outside the model's own vocabulary or with a role."""
        entries: Sequence[Mapping[str, Any]] = self.tokenizer.get("added_tokens") or []
        return entries


def read_tokenizer(folder: Path, base_folder: Path | None = None) -> TokenizerFiles:
    """Read the tokenizer files of a folder.

    Args:
        folder: holds `tokenizer.json`.
        base_folder: gives chat template and `generation_config.json` when `folder` has none.

    Raises:
        InputError: `tokenizer.json` is missing or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError("INPUT_MODEL_NOT_FOUND", f"{folder} holds no tokenizer.json.")
    tokenizer = _read_object(path)
    _require_sound(tokenizer)
    config = _read_object(folder / "tokenizer_config.json")
    template = _chat_template(folder, config)
    generation = _read_object(folder / "generation_config.json")
    if base_folder is not None:
        template = template or _chat_template(
            base_folder, _read_object(base_folder / "tokenizer_config.json")
        )
        generation = generation or _read_object(base_folder / "generation_config.json")
    return TokenizerFiles(folder, tokenizer, config, generation, template)


def tokenizer_metadata(
    files: TokenizerFiles, config: Mapping[str, Any], vocabulary_size: int
) -> dict[str, Value]:
    """Return all `tokenizer.*` keys.

    Args:
        files: the tokenizer.
        config: the model's configuration, for special ids that the tokenizer does not name.
        vocabulary_size: rows of the embedding; the vocabulary is filled up to it.

    Raises:
        InputError: the tokenizer is of a kind that engines do not have, or larger than the embedding.
    """
    model = files.tokenizer["model"]
    pieces = _pieces(files, model)
    if len(pieces) > vocabulary_size:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"The tokenizer has {len(pieces)} tokens, the embedding only {vocabulary_size} rows.",
            hint="Use the tokenizer that was saved with the model or adapter.",
        )
    pieces += [Piece(f"[PAD{row}]", _PAD_SCORE, UNUSED) for row in range(len(pieces), vocabulary_size)]
    keys: dict[str, Value] = {}
    if model.get("byte_fallback"):
        keys["model"], keys["pre"] = text("llama"), text("default")
        keys["scores"] = f32_list([piece.score for piece in pieces])
        if isinstance(files.config.get("add_prefix_space"), bool):
            keys["add_space_prefix"] = flag(files.config["add_prefix_space"])
    else:
        keys["model"], keys["pre"] = text("gpt2"), text(pretokenizer_name(files.tokenizer))
        keys["merges"] = text_list([_merge_text(merge) for merge in model.get("merges", [])])
    keys["tokens"] = text_list([piece.text for piece in pieces])
    keys["token_type"] = i32_list([piece.kind for piece in pieces])
    keys |= _special_ids(files, config, vocabulary_size)
    metadata = {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
    if (template := files.chat_template) is not None:
        metadata["tokenizer.chat_template"] = text(template)
    return metadata


def _pieces(files: TokenizerFiles, model: Mapping[str, Any]) -> list[Piece]:
    """Return the vocabulary by id, with gaps between ids filled."""
    by_id = {token_id: token for token, token_id in model["vocab"].items()}
    last = max([*by_id, *(entry["id"] for entry in files.added)], default=-1)
    sentencepiece = files.folder / "tokenizer.model"
    if not model.get("byte_fallback"):
        pieces = [_normal(by_id, token_id) for token_id in range(last + 1)]
    elif sentencepiece.is_file():
        pieces = read_pieces(sentencepiece)
        pieces += [Piece(f"[PAD{row}]", _PAD_SCORE, UNUSED) for row in range(len(pieces), last + 1)]
    else:
        texts = [_normal(by_id, token_id).text for token_id in range(last + 1)]
        pieces = pieces_from_merges(texts, model.get("merges", []))
    for entry in files.added:
        pieces[entry["id"]] = _added(entry)
    return pieces


def _normal(by_id: Mapping[int, str], token_id: int) -> Piece:
    token = by_id.get(token_id)
    return Piece(f"[PAD{token_id}]", _PAD_SCORE, UNUSED) if token is None else Piece(token, 0.0, NORMAL)


def _added(entry: Mapping[str, Any]) -> Piece:
    token = entry["content"]
    if entry.get("special") or _looks_special(token):
        return Piece(token, _ADDED_SCORE, CONTROL)
    return Piece(token.replace("\u2581", " "), _ADDED_SCORE, USER_DEFINED)


def _looks_special(token: str) -> bool:
    """Return whether a token is written like a control token although it is not marked as one."""
    return (token.startswith("<|") and token.endswith("|>")) or token in ("<pad>", "<mask>")


def _merge_text(merge: Any) -> str:
    """Return a merge as `a b`; a blank inside a part is written as its byte-level letter."""
    if isinstance(merge, str):
        return merge
    return " ".join(part.replace(" ", "\u0120") for part in merge)


def _special_ids(files: TokenizerFiles, config: Mapping[str, Any], vocabulary_size: int) -> dict[str, Value]:
    ids_by_token = {entry["content"]: entry["id"] for entry in files.added}
    keys: dict[str, Value] = {}
    found: dict[str, int] = {}
    for role, gguf_role in _SPECIAL_ROLES.items():
        token = files.config.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        token_id = ids_by_token.get(token) if isinstance(token, str) else None
        if token_id is None:
            token_id = config.get(f"{role}_token_id")
        if type(token_id) is int and 0 <= token_id < vocabulary_size:
            found[role] = token_id
            keys[f"{gguf_role}_token_id"] = u32(token_id)
    if (end_of_turn := _other_end(files.generation.get("eos_token_id"), found.get("eos"))) is not None:
        keys["eot_token_id"] = u32(end_of_turn)
    keys["add_bos_token"] = flag(
        _adds_first(files.tokenizer.get("post_processor"), found.get("bos"), ids_by_token)
    )
    return keys


def _other_end(ends: Any, end: int | None) -> int | None:
    """Return the first token that ends generation and is not the tokenizer's own end token."""
    candidates = ends if isinstance(ends, list) else []
    return next((token for token in candidates if type(token) is int and token != end), None)


def _adds_first(post_processor: Any, bos: int | None, ids_by_token: Mapping[str, int]) -> bool:
    """Return whether the post-processor puts the begin token before a text."""
    if not isinstance(post_processor, dict) or bos is None:
        return False
    processors = post_processor.get("processors") or [post_processor]
    for processor in processors:
        if processor.get("type") == "TemplateProcessing" and processor.get("single"):
            first = processor["single"][0].get("SpecialToken", {}).get("id")
            return ids_by_token.get(first) == bos
    return False


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return the chat template from its own file, else from the tokenizer's configuration."""
    path = folder / "chat_template.jinja"
    if path.is_file() and path.stat().st_size <= _TEMPLATE_BYTES_MAX:
        return path.read_text(encoding="utf-8", errors="replace")
    stored = config.get("chat_template")
    return stored if isinstance(stored, str) else None


def _require_sound(tokenizer: Mapping[str, Any]) -> None:
    """Refuse a `tokenizer.json` whose vocabulary is not the BPE kind, or not tokens with small ids."""
    model = tokenizer.get("model")
    if (
        not isinstance(model, dict)
        or model.get("type", "BPE") != "BPE"
        or not isinstance(model.get("vocab"), dict)
    ):
        raise InputError("INPUT_VALIDATION_FAILED", "Only BPE tokenizers can be exported to GGUF.")
    merges, added = model.get("merges") or [], tokenizer.get("added_tokens") or []
    if not isinstance(merges, list) or not all(map(_is_merge, merges)):
        raise InputError("INPUT_VALIDATION_FAILED", "The merges of tokenizer.json are malformed.")
    if not isinstance(added, list) or not all(isinstance(entry, dict) for entry in added):
        raise InputError("INPUT_VALIDATION_FAILED", "The added tokens of tokenizer.json are malformed.")
    entries = [*model["vocab"].items(), *((entry.get("content"), entry.get("id")) for entry in added)]
    for token, token_id in entries:
        if not isinstance(token, str) or type(token_id) is not int or not 0 <= token_id < _IDS_MAX:
            raise InputError(
                "INPUT_VALIDATION_FAILED", f"tokenizer.json gives the token {token!r} the id {token_id!r}."
            )


def _is_merge(merge: Any) -> bool:
    if isinstance(merge, str):
        return True
    return isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge)


def _read_object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise InputError("INPUT_VALIDATION_FAILED", f"{path.name} is too large for a tokenizer file.")
    try:
        value = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise InputError("INPUT_VALIDATION_FAILED", f"{path.name} is not JSON.") from error
    if not isinstance(value, dict):
        raise InputError("INPUT_VALIDATION_FAILED", f"{path.name} holds no JSON object.")
    return value
