"""Our tensors against those of llama.cpp's own converter, byte for byte.

Needs its source tree, named by BACKPROPAGATE_TEST_LLAMA_CPP; nothing is compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gguf
import pytest

from backprop_core.gguf import export_gguf
from tests.support.tiny_models import ARCHITECTURES, write_model

TREE = os.environ.get("BACKPROPAGATE_TEST_LLAMA_CPP")

pytestmark = [pytest.mark.soak, pytest.mark.skipif(not TREE, reason="needs a llama.cpp source tree")]


def _tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    reader = gguf.GGUFReader(path)
    return {
        tensor.name: (tensor.tensor_type.name, tuple(tensor.shape.tolist()), tensor.data.tobytes())
        for tensor in reader.tensors
    }


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tensors_are_those_of_the_reference_converter(name, kind, tmp_path):
    write_model(tmp_path / "model", name)
    export_gguf(tmp_path / "model", tmp_path / "ours.gguf", kind)
    command = [sys.executable, "-m", "tests.support.reference_converter", str(TREE)]
    subprocess.run(
        [*command, str(tmp_path / "model"), str(tmp_path / "theirs.gguf"), kind],
        check=True,
        capture_output=True,
    )
    assert _tensors(tmp_path / "ours.gguf") == _tensors(tmp_path / "theirs.gguf")
