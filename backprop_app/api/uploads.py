"""The one route that takes data from the browser: a file is streamed into the sandbox under a safe name.

The gate has counted and capped the bytes before they arrive here.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from pathlib import PurePath
from typing import IO, Annotated, Final

from fastapi import APIRouter, Query, Request

from backprop_app.runtime import current
from backprop_core.errors import InputError
from backprop_core.services.room import no_room, require_room

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".md", ".gz")
_MAX_STEM: Final = 60
_FOLDER: Final = "datasets"
_BUFFER_BYTES: Final = 1 << 20

router = APIRouter()


@router.post("/api/uploads")
async def upload(request: Request, name: Annotated[str, Query(max_length=300)]) -> dict[str, str]:
    """Store the body as a data file of the app and return where it lies.

    Raises:
        InputError: INPUT_DATASET_FORMAT_UNSUPPORTED for a type that is not read, or an empty body.
        RunError: RUNTIME_DISK_FULL.
    """
    ws = current().ws
    safe = safe_name(name)
    await asyncio.to_thread(ws.sandbox.prepare)
    announced = request.headers.get("content-length", "0")
    needed = int(announced) if announced.isdecimal() else 0
    room = await asyncio.to_thread(require_room, ws, needed, "The upload")
    with ws.sandbox.create(_FOLDER, safe) as stream:
        size = await _copy(request, stream, room)
        if size == 0:
            raise InputError("INPUT_DATASET_INVALID", f"{name[:60]!r} is empty.")
    return {"path": str(ws.sandbox.path(_FOLDER, safe)), "name": safe}


async def _copy(request: Request, stream: IO[bytes], room: int) -> int:
    """Write the body to `stream` in large pieces, off the event loop; return its size in bytes.

    What a client says of the length is not believed: the bytes are counted against `room`.
    """
    size = 0
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        size += len(chunk)
        if size > room:
            raise no_room(size, room, "The upload")
        if len(waiting) >= _BUFFER_BYTES:
            await asyncio.to_thread(stream.write, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(stream.write, bytes(waiting))
    return size


def safe_name(name: str) -> str:
    """Return a name for an uploaded file that is new and safe on every system.

    The words of the given name are kept, its folders and odd signs are not; a random part keeps two files
    with one name apart.

    Raises:
        InputError: INPUT_DATASET_FORMAT_UNSUPPORTED.
    """
    given = PurePath(unicodedata.normalize("NFKD", name).replace("\\", "/")).name
    suffix = "".join(
        PurePath(given).suffixes[-2:] if given.lower().endswith(".gz") else PurePath(given).suffixes[-1:]
    )
    if PurePath(given).suffix.lower() not in SUFFIXES:
        raise InputError(
            "INPUT_DATASET_FORMAT_UNSUPPORTED",
            f"{given[:60]!r} is no type of file that can be read.",
            hint=f"Readable are {', '.join(SUFFIXES)}.",
        )
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", given.removesuffix(suffix)).strip("-._")[:_MAX_STEM]
    return f"{stem or 'data'}-{secrets.token_hex(2)}{suffix.lower()}"
