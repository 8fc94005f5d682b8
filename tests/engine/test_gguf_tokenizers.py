"""Tokenizers in the file split text as the trained ones do.

Each is trained here without a split, so that its merges cross every border: a wrong pre-tokenizer in the
file then gives other tokens.
"""

from __future__ import annotations

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from backprop_core.gguf import export_gguf
from tests.support.gguf_engine import ask_engine

TEXTS = [
    "In 2024 we'd paid 1234567 for 12 apples, I'LL say!",
    "Tabs\tand  spaces\n\n\n  end  ",
    "MixedCase words HTTPServer getURL",
    "Números: ٣٤٥ und Straße, naïve café",
    "日本語 text 和 ไทย हिन्दी",
    "x = y**2 // comment...!!! ???",
    "👍🏽 emoji 👩‍👩‍👧",
]
CORPUS = [*TEXTS, *(text.lower() for text in TEXTS), *(text.upper() for text in TEXTS)] * 4
SPECIALS = ["<unk>", "<s>", "</s>"]

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?%s+|%s| ?[^\s%s\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
    r"|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
EXPRESSIONS = {
    "llama-bpe": _WORDS % (r"\p{L}", r"\p{N}{1,3}", r"\p{L}"),
    "qwen2": _WORDS % (r"\p{L}", r"\p{N}", r"\p{L}"),
    "qwen35": _WORDS % (r"[\p{L}\p{M}]", r"\p{N}", r"\p{L}\p{M}"),
    "gpt-4o": _CASED % (_CONTRACTIONS, _CONTRACTIONS, r"\p{N}{1,3}"),
    "tekken": _CASED % ("", "", r"\p{N}"),
}


def _split(name: str) -> pre_tokenizers.PreTokenizer:
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        steps = [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    else:
        steps = [
            pre_tokenizers.Split(Regex(EXPRESSIONS[name]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    return pre_tokenizers.Sequence(steps)


def _byte_level(name: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.pre_tokenizer = _split(name)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*SPECIALS, *bytes_],
        show_progress=False,
        limit_alphabet=60,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    raw = json.loads(tokenizer.to_str())
    raw["added_tokens"] = [token for token in raw["added_tokens"] if token["content"] in SPECIALS]
    return Tokenizer.from_str(json.dumps(raw))


def _export(tokenizer: Tokenizer, folder):
    size = tokenizer.get_vocab_size()
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))
    export_gguf(folder, folder / "m.gguf", "f16")
    return folder / "m.gguf"


# llama.cpp's form of these two does not join combining marks to their letters.
WITHOUT_MARKS = ("gpt-4o", "tekken")


@pytest.mark.parametrize("name", ["smollm", "gpt-2", *EXPRESSIONS, "sentencepiece"])
def test_engine_and_training_split_alike(name, tmp_path):
    tokenizer = _sentencepiece() if name == "sentencepiece" else _byte_level(name)
    texts = TEXTS if name not in WITHOUT_MARKS else [text.replace("हिन्दी", "") for text in TEXTS]
    requests = [("/tokenize", {"content": text, "add_special": True}) for text in texts]
    found = [answer["tokens"] for answer in ask_engine(_export(tokenizer, tmp_path), requests)]
    assert found == [tokenizer.encode(text).ids for text in texts]
