"""The two engines of a chat on tiny models: both sides of one base, sampling, stops, limits, and what is refused."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from backprop_core.config.chats import ChatMessage, ChatSpec, Finished, ReplyOrder, Sampling
from backprop_core.datasets.rows import Message
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.engine.chat.gguf_model import load_gguf
from backprop_core.engine.chat.torch_model import load_torch
from backprop_core.errors import BackpropagateError, DependencyError, InputError, RunError
from backprop_core.services.chats import Asked, ChatPool, reply
from backpropagate.exporting import export_gguf
from tests.support.small_gguf import write_small_gguf

ASKED = (ChatMessage(role="user", content="Who keeps the lamp of Ada?"),)
GREEDY = Sampling(temperature=0, repetition_penalty=1, max_tokens=12)


def order(side: str = "tuned", sampling: Sampling = GREEDY, number: int = 1) -> ReplyOrder:
    return ReplyOrder(id=number, side=side, messages=ASKED, sampling=sampling)


def written(opened) -> str:
    text = ""
    while opened.reason is None:
        text += opened.advance()
    opened.close()
    return text


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_model):
    """A run of the tiny model in a home of its own."""
    from tests.support.attempts import attempt, new_run, write_rows

    place = tmp_path_factory.mktemp("chat")
    folder = new_run(
        place,
        model=str(tiny_model),
        dataset=str(write_rows(place / "facts.jsonl")),
        steps=20,
        lora_r=4,
        learning_rate=3e-2,
        max_seq_length=128,
        checkpoint_every=1000,
    )
    attempt(folder, place / "home")
    return folder.adapter


@pytest.fixture(scope="module")
def model(tiny_model, adapter, tmp_path_factory):
    spec = ChatSpec(engine="torch", model=str(tiny_model), adapter=str(adapter))
    return load_torch(spec, tmp_path_factory.mktemp("slot") / "slot.lock")


def test_the_base_side_writes_what_transformers_writes_without_the_adapter(model, tiny_model):
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=model._device.dtype).eval()
    tokenizer = ChatTokenizer.load(tiny_model)
    prompt = tokenizer.encode_text(tokenizer.render_prompt([Message("user", ASKED[0].content)]))
    out = plain.generate(
        torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=2
    )
    expected = tokenizer.decode(out[0, len(prompt) :].tolist(), skip_special_tokens=True)
    assert written(model.reply(order("base"))) == expected


def test_both_sides_in_turns_write_what_each_writes_alone(model):
    alone = [written(model.reply(order(side))) for side in ("tuned", "base")]
    assert alone[0] != alone[1]
    opened = [model.reply(order(side)) for side in ("tuned", "base")]
    texts = ["", ""]
    while any(writing.reason is None for writing in opened):
        for place, writing in enumerate(opened):
            if writing.reason is None:
                texts[place] += writing.advance()
    assert texts == alone


def test_a_seed_gives_the_same_reply_and_another_seed_another(model):
    def sampled(seed: int) -> str:
        return written(model.reply(order(sampling=Sampling(temperature=2, max_tokens=12, seed=seed))))

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_a_stop_ends_the_reply_before_it(model):
    whole = written(model.reply(order("base")))
    stop = whole[len(whole) // 2 :][:3]
    opened = model.reply(order("base", GREEDY.model_copy(update={"stop": (stop,)})))
    assert written(opened) == whole[: whole.index(stop)]
    assert opened.reason == "stop"


def test_a_reply_ends_at_its_limit(model):
    opened = model.reply(order("base", GREEDY.model_copy(update={"max_tokens": 3})))
    written(opened)
    assert (opened.reason, opened.tokens) == ("length", 3)


def test_a_conversation_that_is_longer_than_the_model_reads_is_refused(model):
    long = ReplyOrder(id=1, messages=(ChatMessage(role="user", content="word " * 3000),))
    with pytest.raises(InputError, match=r"the model reads at most 2,048"):
        model.reply(long)


def test_a_missing_adapter_is_refused_with_its_code(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        load_torch(
            ChatSpec(engine="torch", model=str(tiny_model), adapter=str(tmp_path / "empty")),
            tmp_path / "slot",
        )
    assert caught.value.code == "INPUT_ADAPTER_INVALID"


def test_without_the_extra_the_install_line_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError) as caught:
        load_gguf(ChatSpec(engine="gguf", model="m.gguf"))
    assert "pip install 'backpropagate[export]'" in caught.value.hint


@pytest.fixture
def pool(own_home):
    own_home.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(ChatPool(own_home)) as made:
        yield made


def ask(pool: ChatPool, file: Path, lora: Path | None = None, side: str = "tuned") -> str:
    spec = ChatSpec(engine="gguf", model=str(file), adapter=str(lora) if lora else None)
    told = list(reply(pool, spec, side, Asked(ASKED, GREEDY)))
    assert isinstance(told[-1], Finished)
    assert 0 < told[-1].tokens <= GREEDY.max_tokens
    return "".join(part.text for part in told[:-1])


def test_a_gguf_file_answers(pool, tmp_path):
    assert ask(pool, write_small_gguf(tmp_path / "m.gguf"))


def test_base_and_adapter_files_answer_as_two_sides(pool, adapter, tmp_path):
    from backprop_core.services.export_checks import ExportRequest
    from backpropagate.exporting import export_here

    request = ExportRequest(str(adapter), "ollama-adapter", "f16", tmp_path / "pair", wants_proof=False)
    folder = export_here(request).path
    parts = folder / "base.gguf", folder / "adapter.gguf"
    tuned, base = (ask(pool, *parts, side=side) for side in ("tuned", "base"))
    merged = export_gguf(adapter, "f16", tmp_path, proof=False).path
    assert tuned != base
    assert tuned == ask(pool, merged)


@pytest.mark.parametrize("damage", ["name", "architecture", "cut", "text"])
def test_a_file_that_the_engine_cannot_take_is_one_coded_error(pool, tmp_path, damage):
    path = tmp_path / "bad.gguf"
    write_small_gguf(
        path,
        name="phi-3" if damage == "name" else "",
        architecture="nosuch" if damage == "architecture" else "llama",
    )
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "text":
        path.write_text("no model at all, but long enough to be looked at")
    with pytest.raises(BackpropagateError) as caught:
        ask(pool, path)
    is_seen_before = damage in {"cut", "text"}
    assert isinstance(caught.value, InputError if is_seen_before else RunError)
    assert ask(pool, write_small_gguf(tmp_path / "good.gguf"))
