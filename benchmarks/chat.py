"""How soon a chat answers and how fast it writes. `python -m benchmarks.chat [FOLDER OF SMOLLM2-135M]`

The engine's own speed is what llama.cpp reports for the same reply of the same file, asked directly in a
process of its own with the same threads. The two are asked in turns; the ratio is that of the CPU seconds of a
reply, which other work on the machine changes less than its wall time.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from backprop_core.config.chats import ChatMessage, ChatSpec, Finished, Sampling
from backprop_core.gguf import export_gguf
from backprop_core.services.chats import Asked, ChatPool, reply
from benchmarks.report import Figure, machine, show
from tests.support.models import tutorial_model_dir

QUESTION = "Write a long story about a lighthouse and its keeper."
TOKENS = 128
ROUNDS = 7

_DIRECT = """
import os, sys, orjson, xllamacpp
order = orjson.loads(sys.stdin.buffer.readline())
params = xllamacpp.CommonParams()
params.model.path = order["model"]
params.n_ctx = 8192
params.n_parallel = 1
params.warmup = False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
server = xllamacpp.Server(params)
open(order["address"] + ".part", "w").write(server.listening_address)
os.replace(order["address"] + ".part", order["address"])
sys.stdin.buffer.read()
os._exit(0)
"""


def measure(model: Path) -> list[Figure]:
    """Return the figures of the model in torch and as a q8_0 file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "m-q8_0.gguf"
        export_gguf(model, file, "q8_0")
        return [*_torch(folder, model), *_gguf(folder, file)]


def _torch(home: Path, model: Path) -> list[Figure]:
    spec = ChatSpec(engine="torch", model=str(model))
    with contextlib.closing(ChatPool(home)) as pool:
        loaded = _ask(pool, spec)[1]
        ends = [_ask(pool, spec) for _ in range(ROUNDS)]
    return [
        Figure("torch, first question of a new worker: first words", loaded, "s"),
        Figure("torch, model in memory: first words", statistics.median(first for _, first in ends), "s", 2),
        Figure("torch: speed", statistics.median(end.tokens_per_s or 0 for end, _ in ends), "tokens/s"),
    ]


def _gguf(home: Path, file: Path) -> list[Figure]:
    spec = ChatSpec(engine="gguf", model=str(file))
    ours: list[tuple[float, float]] = []
    firsts: list[float] = []
    direct: list[tuple[float, float]] = []
    with contextlib.closing(ChatPool(home)) as pool, _engine(file, home) as client:
        _ask(pool, spec)
        _ask_directly(client)
        for _ in range(ROUNDS):
            before = _cpu_s()
            end, first = _ask(pool, spec)
            between = _cpu_s()
            own = _ask_directly(client)
            ours.append((end.tokens_per_s or 0, between - before))
            direct.append((own, _cpu_s() - between))
            firsts.append(first)
    ratio = statistics.median(cpu for _, cpu in direct) / statistics.median(cpu for _, cpu in ours)
    return [
        Figure("q8_0 file, model in memory: first words", statistics.median(firsts), "s", 2),
        Figure("q8_0 file: speed of the chat", statistics.median(speed for speed, _ in ours), "tokens/s"),
        Figure(
            "q8_0 file: speed that the engine tells", statistics.median(own for own, _ in direct), "tokens/s"
        ),
        Figure("q8_0 file: speed by CPU second, chat by engine", ratio, "", 0.9, is_at_least=True),
    ]


def _cpu_s() -> float:
    """Return the CPU seconds of all engines so far; one that is not asked takes none."""
    times = [child.cpu_times() for child in psutil.Process().children()]
    return sum(time.user + time.system for time in times)


def _ask(pool: ChatPool, spec: ChatSpec) -> tuple[Finished, float]:
    """Return how a reply ended, and the seconds from the question to its first words."""
    sampling = Sampling(temperature=0, repetition_penalty=1, max_tokens=TOKENS)
    asked = Asked([ChatMessage(role="user", content=QUESTION)], sampling)
    began, first = time.perf_counter(), 0.0
    for told in reply(pool, spec, "tuned", asked):
        first = first or time.perf_counter() - began
        end = told
    assert isinstance(end, Finished)
    return end, first


def _ask_directly(client: httpx.Client) -> float:
    """Return the tokens per second that the engine reports."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": TOKENS,
    }
    answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    return float(answer["timings"]["predicted_per_second"])


@contextlib.contextmanager
def _engine(file: Path, folder: Path) -> Iterator[httpx.Client]:
    address = folder / "address"
    order = {"model": str(file), "threads": max(1, (os.cpu_count() or 2) // 2), "address": str(address)}
    process = subprocess.Popen(
        [sys.executable, "-c", _DIRECT],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(orjson.dumps(order) + b"\n")
        process.stdin.flush()
        while not address.exists():
            time.sleep(0.05)
        with httpx.Client(base_url=address.read_text(), timeout=120, trust_env=False) as client:
            yield client
    finally:
        process.kill()
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    print(machine())
    show("Chat", measure(Path(sys.argv[1]) if len(sys.argv) > 1 else tutorial_model_dir()))
