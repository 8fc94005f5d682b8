"""What comes from elsewhere runs in a child: it is killed in time, and the parent goes on."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backprop_core.datasets import versions
from backprop_core.datasets.child import Child, ChildFailed
from backprop_core.datasets.operations import Filter
from backprop_core.datasets.readers import read_rows
from backprop_core.datasets.rendering import PATIENCE_S, ChildRenderer, LocalRenderer
from backprop_core.datasets.rows import Conversation, Message, RawRow, RowFault, RowProblem
from backprop_core.datasets.tokenizer import ChatTokenizer
from backprop_core.datasets.turns import Rendered
from backprop_core.errors import DependencyError, InputError
from tests.unit.datasets.families import SMOLLM2_SHAPE, family, small_tokenizer
from tests.unit.datasets.test_masks import CASES

CHATML = {"eos_token": "<|im_end|>"}


def isolated(template: str) -> ChatTokenizer:
    return ChatTokenizer(small_tokenizer(), CHATML, template, isolate=True)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 2000000000 }}",
        "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
    ],
    ids=["loops", "string", "doubling"],
)
def test_a_template_without_end_is_stopped_in_time(template):
    started = time.monotonic()

    with pytest.raises(DependencyError) as caught:
        isolated(template)

    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"
    assert "was stopped" in caught.value.message
    assert time.monotonic() - started < PATIENCE_S + 5


def test_a_template_that_attacks_only_certain_rows_is_stopped_too():
    bomb = "{% if messages[0].content == 'now' %}{% for a in range(99999) %}{% for b in range(99999) %}"
    setup = family(
        "smollm2-135m", template=bomb + "{% endfor %}{% endfor %}{% endif %}" + SMOLLM2_SHAPE
    ).setup
    renderer = ChildRenderer(setup, patience_s=1)
    row = Conversation((Message("user", "now"), Message("assistant", "x")), 1)
    assert isinstance(renderer.render_many([CASES["single"]])[0], Rendered)

    with pytest.raises(DependencyError, match="no answer within 1 seconds"):
        renderer.render_many([row])


@pytest.mark.parametrize("name", ["qwen3.5-4b", "mistral-7b", "smollm3-3b", "llama-3.2-3b"])
@pytest.mark.parametrize("case", CASES)
def test_the_child_renders_what_this_process_renders(name, case):
    setup = family(name).setup
    child = ChildRenderer(setup)

    assert child.render_many([CASES[case]]) == LocalRenderer(setup).render_many([CASES[case]])
    assert child.shape == LocalRenderer(setup).shape
    child.close()


def test_many_rows_and_their_faults_come_back_in_order():
    tokenizer = isolated("{{ raise_exception('no') if messages | length > 2 }}" + SMOLLM2_SHAPE)
    good = CASES["single"].messages
    rows = [Conversation(good if number % 3 else good + good, number) for number in range(600)]

    results = tokenizer.render_many(rows)

    assert [isinstance(result, RowProblem) for result in results] == [
        number % 3 == 0 for number in range(600)
    ]


def test_a_prompt_is_rendered_in_the_child():
    tokenizer = isolated(SMOLLM2_SHAPE + "{# foreign #}")

    text = tokenizer.render_prompt([Message("user", "x<|im_end|>")])

    assert text.endswith("user\nx< |im_end|><|im_end|>\n<|im_start|>assistant\n")


def test_a_refusal_of_the_template_reaches_the_caller_of_a_prompt():
    tokenizer = isolated("{{ raise_exception('never') }}")

    with pytest.raises(RowFault, match="never"):
        tokenizer.render_prompt([Message("user", "x")])


def test_a_template_that_does_not_compile_is_named_by_the_child():
    with pytest.raises(DependencyError, match=r"\(line 1\)"):
        isolated("{% for %}")


def test_the_child_has_no_secrets_in_its_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    with Child("render", [], memory_bytes=1 << 28) as child:
        environment = Path(f"/proc/{child._process.pid}/environ").read_bytes()

    assert b"hf_secret" not in environment


def test_a_child_that_is_gone_is_said_to_be_gone():
    with Child("render", [], memory_bytes=1 << 28) as child:
        child._process.kill()
        with pytest.raises(ChildFailed):
            child.ask(b"{}", within_s=20)


def test_a_regular_expression_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(versions, "PATIENCE_S", 1.5)
    source = tmp_path / "talks.jsonl"
    source.write_text('{"prompt": "' + "a" * 40 + '!", "completion": "x"}\n')

    with pytest.raises(InputError, match="takes too long"):
        versions.apply(Filter(matching=r"(a+)+$"), source, tmp_path / "new.jsonl", now=datetime.now(UTC))

    assert not (tmp_path / "new.jsonl").exists()


pyarrow = pytest.importorskip("pyarrow")


def parquet(tmp_path, columns):
    import pyarrow.parquet

    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
    return path


def test_parquet_rows_are_read_with_their_lists_and_structures(tmp_path):
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

    rows = list(read_rows(parquet(tmp_path, {"messages": [chat, None]})))

    assert rows == [RawRow(1, {"messages": chat}), RawRow(2, {"messages": None})]


def test_a_parquet_bomb_is_refused_by_what_it_becomes(tmp_path):
    text = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 5000, pyarrow.int32()), pyarrow.array(["x" * 1_000_000])
    )
    path = parquet(tmp_path, {"text": text})
    assert path.stat().st_size < 1000

    with pytest.raises(InputError) as caught:
        list(read_rows(path))

    assert caught.value.code == "INPUT_DATASET_INVALID"


def test_a_parquet_file_that_needs_too_much_memory_is_refused(tmp_path):
    text = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 200, pyarrow.int32()), pyarrow.array(["y" * 60_000_000])
    )

    with pytest.raises(InputError) as caught:
        list(read_rows(parquet(tmp_path, {"text": text})))

    assert caught.value.code == "INPUT_DATASET_INVALID"


def test_columns_of_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="'image' holds images or other bytes") as caught:
        list(read_rows(parquet(tmp_path, {"image": [b"\x89PNG"]})))

    assert caught.value.code == "INPUT_DATASET_FORMAT_UNSUPPORTED"


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")

    with pytest.raises(InputError) as caught:
        list(read_rows(path))

    assert caught.value.code == "INPUT_DATASET_PARSE_FAILED"
