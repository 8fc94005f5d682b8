"""Finished exports: the list, and the download of a file of the app's own folder, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse

from backprop_app.runtime import current
from backprop_core.config.proofs import proof_path, read_proof
from backprop_core.errors import InputError, StateError
from backprop_core.services import exports, runs
from backprop_core.workspace import Workspace

SCHEMA_VERSION: Final = 1
_CHUNK_BYTES: Final = 1 << 20

router = APIRouter()


@router.get("/api/exports")
def list_exports() -> dict[str, Any]:
    """Return the exports that stand on the disk, newest first."""
    found = exports.list_finished(current().ws)
    return {"schema_version": SCHEMA_VERSION, "exports": [export.as_json() for export in found]}


@router.get("/api/exports/{job_id}/download")
def download(job_id: str) -> StreamingResponse:
    """Stream an exported file; a unique prefix of the job's id is enough.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND when it made no file, or the file is gone.
        StateError: SANDBOX_PATH_OUTSIDE for a file that does not lie below the app's folder.
    """
    ws = current().ws
    made = exports.finished(runs.get_run(ws, job_id))
    if made is None or not made.path.is_file():
        raise InputError("INPUT_RUN_NOT_FOUND", f"The export {job_id[:40]!r} has no file to download.")
    opened = ExitStack()
    stream = opened.enter_context(ws.sandbox.open(*_below(ws, made.path)))
    headers = {
        "Content-Length": str(made.path.stat().st_size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(made.path.name)}",
    }
    return StreamingResponse(_pieces(opened, stream), media_type="application/octet-stream", headers=headers)


@router.get("/api/exports/{job_id}/proof")
def proof(job_id: str) -> JSONResponse:
    """Return the proof beside an export as a file; a unique prefix of the job's id is enough.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND when there is no export or no proof.
    """
    made = exports.finished(runs.get_run(current().ws, job_id))
    found = read_proof(made.path) if made is not None else None
    if made is None or found is None:
        raise InputError("INPUT_RUN_NOT_FOUND", f"The export {job_id[:40]!r} has no proof.")
    name = quote(proof_path(made.path).name)
    return JSONResponse(
        found.model_dump(mode="json"),
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


def _below(ws: Workspace, path: Path) -> tuple[str, ...]:
    """Return the parts of a path below the app's folder."""
    root = ws.sandbox.root
    if not path.is_relative_to(root):
        raise StateError(
            "SANDBOX_PATH_OUTSIDE",
            f"{path.name} was made outside of the app's folder.",
            hint="Copy it from its place on the machine; the page shows the path.",
        )
    return path.relative_to(root).parts


def _pieces(opened: ExitStack, stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the file; it is closed when the download ends or breaks off."""
    with opened:
        while piece := stream.read(_CHUNK_BYTES):
            yield piece
