"""Tokenizers as metadata: kinds, padding, special ids, and the SentencePiece path."""

from __future__ import annotations

import json
import struct

import pytest

from backprop_core.errors import InputError
from backprop_core.gguf.pretokenizer import pretokenizer_name
from backprop_core.gguf.sentencepiece import BYTE, CONTROL, NORMAL, UNUSED, USER_DEFINED, Piece, read_pieces
from backprop_core.gguf.vocab import read_tokenizer, tokenizer_metadata
from tests.support.checkpoints import byte_tokenizer, write_checkpoint

DIGITS_1 = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
EXPRESSIONS = {
    "qwen2": DIGITS_1,
    "llama-bpe": DIGITS_1.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),
    "qwen35": DIGITS_1.replace(r"\p{L}+", r"[\p{L}\p{M}]+").replace(
        r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]"
    ),
    "gpt-4o": CASED + r"(?i:'s|'t|'re)?|\p{N}{1,3}" + TAIL,
    "tekken": CASED + r"|\p{N}" + TAIL,
}


def split(expression: str, behavior: str = "Isolated") -> dict:
    return {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }
    }


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_splitting_expression_tells_the_pretokenizer(name):
    assert pretokenizer_name(split(EXPRESSIONS[name])) == name


def test_digits_step_tells_smollm_and_its_absence_gpt2():
    assert pretokenizer_name(byte_tokenizer()) == "smollm"
    assert pretokenizer_name({"pre_tokenizer": {"type": "ByteLevel", "use_regex": True}}) == "gpt-2"


@pytest.mark.parametrize(
    "tokenizer",
    [
        {},
        split(r"\w+"),
        split(DIGITS_1, behavior="Removed"),
        {"pre_tokenizer": {"type": "Whitespace"}},
        split(CASED + r"|\p{N}{1,3}" + TAIL),
    ],
)
def test_structure_without_a_name_is_refused(tokenizer):
    with pytest.raises(InputError, match="No GGUF engine splits text"):
        pretokenizer_name(tokenizer)


def metadata(folder, size: int = 300, config=None, **changes):
    write_checkpoint(folder, tokenizer=byte_tokenizer(**changes))
    keys = tokenizer_metadata(read_tokenizer(folder), config or {}, size)
    return {key.removeprefix("tokenizer.ggml."): value.content for key, value in keys.items()}


def test_vocabulary_is_filled_up_to_the_embedding(tmp_path):
    keys = metadata(tmp_path, size=264)
    assert keys["tokens"][259:] == ("ab", "abc", "[PAD261]", "[PAD262]", "[PAD263]")
    assert keys["token_type"][259:] == (NORMAL, NORMAL, UNUSED, UNUSED, UNUSED)


def test_added_tokens_are_control_or_user_defined(tmp_path):
    added = byte_tokenizer()["added_tokens"]
    added += [
        {"id": 261, "content": "\u2581tool", "special": False},
        {"id": 262, "content": "<|tool|>", "special": False},
    ]
    keys = metadata(tmp_path, added_tokens=added)
    assert keys["tokens"][261] == " tool"
    assert keys["token_type"][261:263] == (USER_DEFINED, CONTROL)


def test_gap_between_ids_is_filled(tmp_path):
    added = [*byte_tokenizer()["added_tokens"], {"id": 265, "content": "<x>", "special": True}]
    assert metadata(tmp_path, added_tokens=added)["tokens"][261:266] == (
        "[PAD261]",
        "[PAD262]",
        "[PAD263]",
        "[PAD264]",
        "<x>",
    )


def test_merges_are_written_with_one_blank(tmp_path):
    model = byte_tokenizer()["model"] | {"merges": [["a", "b"], "ab c", [" ", "x"]]}
    assert metadata(tmp_path, model=model)["merges"] == ("a b", "ab c", "Ġ x")


def test_special_ids_come_from_the_tokenizer_then_the_model(tmp_path):
    keys = metadata(tmp_path, config={"eos_token_id": 7, "pad_token_id": 5})
    assert (keys["bos_token_id"], keys["eos_token_id"], keys["padding_token_id"]) == (1, 2, 5)


def test_second_end_of_generation_becomes_the_end_of_turn(tmp_path):
    tmp_path.joinpath("generation_config.json").write_text(json.dumps({"eos_token_id": [2, 9]}))
    assert metadata(tmp_path)["eot_token_id"] == 9


def test_adapter_without_a_template_takes_that_of_its_base(tmp_path):
    base, adapter = write_checkpoint(tmp_path / "base"), write_checkpoint(tmp_path / "adapter")
    (adapter / "chat_template.jinja").unlink()
    assert read_tokenizer(adapter, base).chat_template == "{{ messages[0]['content'] }}"
    (adapter / "chat_template.jinja").write_text("own")
    assert read_tokenizer(adapter, base).chat_template == "own"


def test_begin_token_is_added_only_when_the_postprocessor_does(tmp_path):
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}],
    }
    assert metadata(tmp_path / "a", post_processor={"type": "Sequence", "processors": [template]})[
        "add_bos_token"
    ]
    assert not metadata(tmp_path / "b")["add_bos_token"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"type": "Unigram", "vocab": []}},
        {"model": {"type": "BPE", "vocab": {"a": "0"}}},
        {"model": {"type": "BPE", "vocab": {"a": 1 << 40}}},
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [1]}},
        {"added_tokens": [{"content": "a"}]},
    ],
)
def test_malformed_tokenizer_is_refused(changes, tmp_path):
    with pytest.raises(InputError):
        metadata(tmp_path, **changes)


def proto(piece: Piece) -> bytes:
    raw = piece.text.encode()
    body = b"\x0a" + bytes([len(raw)]) + raw + b"\x15" + struct.pack("<f", piece.score)
    body += b"" if piece.kind == NORMAL else b"\x18" + bytes([piece.kind])
    return b"\x0a" + bytes([len(body)]) + body


PIECES = [
    Piece("<unk>", 0.0, 2),
    Piece("<s>", 0.0, CONTROL),
    Piece("<0x0A>", 0.0, BYTE),
    Piece("ab", -1.0, NORMAL),
    Piece("\u2581", -2.0, NORMAL),
]


def test_sentencepiece_file_gives_pieces_scores_and_kinds(tmp_path):
    trainer_field = b"\x12\x02\x08\x01"
    (tmp_path / "tokenizer.model").write_bytes(b"".join(map(proto, PIECES)) + trainer_field)
    assert read_pieces(tmp_path / "tokenizer.model") == PIECES


@pytest.mark.parametrize(
    "raw", [b"", b"\x0a", b"\x0a\xff\x01", b"\xff" * 40, b"\x0a\x03\x0a\x05a", b"\x07\x00"]
)
def test_file_that_is_no_sentencepiece_model_is_refused(raw, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(raw)
    with pytest.raises(InputError, match="not a SentencePiece model"):
        read_pieces(tmp_path / "tokenizer.model")


def fallback_model() -> dict:
    vocabulary = {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "a": 3, "b": 4, "ab": 5, "aba": 6}
    merges = [["a", "b"], ["ab", "a"], ["a", "ba"]]
    return {"type": "BPE", "byte_fallback": True, "vocab": vocabulary, "merges": merges}


def test_scores_follow_the_order_of_merges(tmp_path):
    added = [{"id": 0, "content": "<unk>", "special": True}, {"id": 1, "content": "<s>", "special": True}]
    keys = metadata(tmp_path, size=8, model=fallback_model(), added_tokens=added)
    assert keys["model"] == "llama"
    assert keys["scores"][5] > keys["scores"][6] > keys["scores"][3]
    assert keys["token_type"] == (CONTROL, CONTROL, BYTE, NORMAL, NORMAL, NORMAL, NORMAL, UNUSED)


def test_sentencepiece_file_beats_the_merge_list(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"".join(map(proto, PIECES)))
    keys = metadata(tmp_path, size=8, model=fallback_model(), added_tokens=[])
    assert keys["scores"][3] == -1.0
    assert keys["tokens"][3] == "ab"
