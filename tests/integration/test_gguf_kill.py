"""An export killed, or out of disk, at any moment leaves no half file, and the next one succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from backprop_core.gguf import check_gguf, export_gguf
from tests.support.checkpoints import LLAMA_CONFIG, llama_arrays, write_checkpoint

# Stops itself at a given share of the work, so that the kill lands there and nowhere else.
EXPORT = """
import os, signal, sys
from pathlib import Path
from backprop_core.gguf import export_gguf
share = float(sys.argv[3])
def progress(done, total, phase):
    at_end = phase == "saving" and share >= 1
    if at_end or (phase == "writing" and share < 1 and done >= share * total):
        print("there", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
export_gguf(Path(sys.argv[1]), Path(sys.argv[2]), "q8_0", progress=progress, threads=2)
"""
# The largest file that the process may write, in place of a disk that fills up.
FULL_DISK = """
import resource, sys
from pathlib import Path
from backprop_core.errors import RunError
from backprop_core.gguf import export_gguf
limit = int(sys.argv[3])
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    export_gguf(Path(sys.argv[1]), Path(sys.argv[2]), "q8_0")
except RunError as error:
    print(error.code)
"""


@pytest.fixture
def model(tmp_path):
    arrays = {
        name: np.repeat(array, 8, axis=0) if "embed" in name else array
        for name, array in llama_arrays().items()
    }
    return write_checkpoint(tmp_path / "m", arrays=arrays, config=LLAMA_CONFIG | {"vocab_size": 2400})


def _leftovers(folder) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_killed_export_leaves_no_file_under_the_final_name(share, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", EXPORT, str(model), str(out / "m.gguf"), str(share)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"there\n"
    assert not (out / "m.gguf").exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (out / "m.gguf").exists()

    export_gguf(model, out / "m.gguf", "q8_0")
    check_gguf(out / "m.gguf")
    assert _leftovers(out) == ["m.gguf"]


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_disk_that_fills_up_is_named_and_nothing_is_left(share, model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    whole = export_gguf(model, tmp_path / "whole.gguf", "q8_0").size_bytes
    command = [sys.executable, "-c", FULL_DISK, str(model), str(out / "m.gguf"), str(int(share * whole))]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"RUNTIME_DISK_FULL\n"
    assert _leftovers(out) == []


def test_two_exports_to_one_name_do_not_mix(model, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", EXPORT, str(model), str(out / "m.gguf"), "0.5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(Exception, match="Another export is writing"):
        export_gguf(model, out / "m.gguf", "q8_0")
    os.kill(process.pid, signal.SIGCONT)
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        os.kill(process.pid, signal.SIGCONT)
    process.stdout.close()
    assert process.returncode == 0
    check_gguf(out / "m.gguf")


def test_wide_matrix_is_packed_in_flat_memory(tmp_path):
    rows, columns = 40_000, 1024
    arrays = llama_arrays()
    arrays = {name: np.resize(array, (*array.shape[:-1], columns)) for name, array in arrays.items()}
    arrays["model.embed_tokens.weight"] = np.ones((rows, columns), np.float32)
    model = write_checkpoint(
        tmp_path / "m", arrays=arrays, config=LLAMA_CONFIG | {"hidden_size": columns, "head_dim": 16}
    )
    code = (
        "import resource, sys; from pathlib import Path; from backprop_core.gguf import export_gguf\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "export_gguf(Path(sys.argv[1]), Path(sys.argv[2]), 'f16', threads=2)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(model), str(tmp_path / "m.gguf")]
    grown_kib = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert grown_kib < rows * columns * 4 / 1024
