"""The process of one engine: loads one file and answers on a loopback port until its input closes.

Run as a module; the first line of its input is the order. Its address goes to a file of its own,
because its output is full of what the engine logs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import orjson


def main() -> None:
    """Serve the file of the order."""
    order: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["model"]
    if order["lora"]:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(order["lora"], 1.0)]
    params.api_keys = [order["key"]]
    params.n_ctx = order["context"]
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    # What is measured is the file, not shortcuts of the engine.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(params)
    address = Path(order["address_file"])
    unfinished = address.with_suffix(".part")
    unfinished.write_text(server.listening_address, encoding="utf-8")
    unfinished.replace(address)
    sys.stdin.buffer.read()
    # Nothing that the engine still does is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
