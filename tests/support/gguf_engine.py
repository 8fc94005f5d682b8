"""A llama.cpp engine in a process of its own, asked over HTTP; a file that aborts it fails one test only.

Run as a module it serves one list of requests: `python -m tests.support.gguf_engine REQUESTS ANSWERS`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
# The byte tokenizer's id of "!".
EXCLAMATION = 3


class EngineFailed(Exception):
    """The engine did not load the file, or died."""


def ask_engine(
    model: Path, requests: Sequence[tuple[str, dict[str, Any]]], lora: Path | None = None
) -> list[Any]:
    """Load `model` in a fresh engine and return its answers to `(path, body)` requests.

    Raises:
        EngineFailed: with the end of the engine's log.
    """
    with tempfile.TemporaryDirectory() as folder:
        order, answers, log = (Path(folder) / name for name in ("requests", "answers", "log"))
        order.write_text(
            json.dumps({"model": str(model), "lora": str(lora or ""), "requests": list(requests)})
        )
        command = [sys.executable, "-m", "tests.support.gguf_engine", str(order), str(answers)]
        with log.open("wb") as stream:
            done = subprocess.run(command, stdout=stream, stderr=stream, timeout=TIMEOUT_S, check=False)
        if done.returncode or not answers.exists():
            raise EngineFailed(log.read_text(errors="replace")[-2000:])
        return list(json.loads(answers.read_text()))


def next_token_logprobs(
    model: Path,
    tokens: Sequence[int],
    count: int,
    *,
    plain_token: int = EXCLAMATION,
    lora: Path | None = None,
) -> dict[int, float]:
    """Return log-probability by id of the `count` likeliest tokens after `tokens`.

    The engine withholds half a character together with its probabilities, so the token it takes is forced
    to be `plain_token`; the probabilities are those before that.
    """
    bias = [[plain_token, 1e4]]
    body = {"prompt": list(tokens), "n_predict": 1, "n_probs": count, "temperature": 0, "logit_bias": bias}
    (answer,) = ask_engine(model, [("/completion", body)], lora)
    entries = answer["completion_probabilities"][0]["top_logprobs"]
    return {entry["id"]: entry["logprob"] for entry in entries}


def _serve(order: dict[str, Any]) -> list[Any]:
    import httpx
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    params.n_ctx = 512
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if order["lora"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(order["lora"], 1.0)]
    server = xllamacpp.Server(params)
    with httpx.Client(base_url=server.listening_address, timeout=TIMEOUT_S) as client:
        return [client.post(path, json=body).raise_for_status().json() for path, body in order["requests"]]


if __name__ == "__main__":
    answered = _serve(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(answered))
    sys.stdout.flush()
    import os

    os._exit(0)
