"""Every architecture: a random model answers in a llama.cpp engine as it does in transformers."""

from __future__ import annotations

import gguf
import pytest
import torch

from backprop_core.gguf import QUANTIZATIONS, export_gguf
from tests.support.gguf_engine import ask_engine, next_token_logprobs
from tests.support.tiny_models import ARCHITECTURES, write_model

VOCABULARY = 300
GGUF_ARCHITECTURES = {
    "llama": "LLAMA",
    "llama-tied": "LLAMA",
    "mistral": "LLAMA",
    "qwen2": "QWEN2",
    "qwen3": "QWEN3",
    "smollm3": "SMOLLM3",
    "phi3": "PHI3",
    "qwen35": "QWEN35",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def _tokens() -> list[int]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, 259, (73,), generator=generator).tolist()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_f32_export_answers_as_transformers_does(name, tmp_path):
    model = write_model(tmp_path / "model", name)
    export_gguf(tmp_path / "model", tmp_path / "m.gguf", "f32")
    with torch.no_grad():
        expected = torch.log_softmax(model(torch.tensor([_tokens()])).logits[0, -1].double(), -1)
    found = next_token_logprobs(tmp_path / "m.gguf", _tokens(), VOCABULARY)
    assert len(found) == VOCABULARY
    assert max(abs(expected[token].item() - value) for token, value in found.items()) < 1e-3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_tensor_has_the_name_that_the_format_gives_it(name, tmp_path):
    write_model(tmp_path / "model", name)
    report = export_gguf(tmp_path / "model", tmp_path / "m.gguf", "bf16")
    family = gguf.MODEL_ARCH[GGUF_ARCHITECTURES[name]]
    templates = {gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[family]}
    known = {template.format(bid=layer) for template in templates for layer in range(4)}
    stems = {tensor.name.removesuffix(".weight").removesuffix(".bias") for tensor in report.tensors}
    assert stems <= known


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_loads_and_answers(quantization, tmp_path):
    write_model(tmp_path / "model", "llama")
    export_gguf(tmp_path / "model", tmp_path / "m.gguf", quantization)
    body = {"prompt": _tokens(), "n_predict": 2, "temperature": 0, "ignore_eos": True}
    (answer,) = ask_engine(tmp_path / "m.gguf", [("/completion", body)])
    assert answer["tokens_predicted"] == 2
