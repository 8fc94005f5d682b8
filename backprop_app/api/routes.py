"""The routes: `/healthz`, `/api/runs` and `/api/report`, which change nothing, and those of the modules beside this."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse

from backprop_app.api import data, exports, openai, uploads
from backprop_app.runtime import current
from backprop_core.errors import BackpropagateError, ExitCode
from backprop_core.events.journal import JournalReader
from backprop_core.runs.store import RunFolder
from backprop_core.services import runs
from backprop_core.services.report import morning_report
from backprop_core.services.report_page import html_report

SCHEMA_VERSION = 1
_STATUS = {"INPUT_RUN_NOT_FOUND": 404}

router = APIRouter()


@router.get("/healthz", response_class=PlainTextResponse)
async def health() -> str:
    """Tell that the server answers; names no version."""
    return "ok"


@router.get("/api/runs")
def list_runs(
    status: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies the default
    search: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 20,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Return runs of every face, newest first."""
    ws = current().ws
    found = runs.list_runs(ws, statuses=status, search=search, limit=limit, offset=offset)
    total = runs.count_runs(ws, statuses=status, search=search)
    return {"schema_version": SCHEMA_VERSION, "total": total, "runs": [state.model_dump() for state in found]}


@router.get("/api/runs/{run_id}")
def show_run(run_id: str) -> dict[str, Any]:
    """Return one run with its spec and the origin of each value; a unique prefix of the id is enough."""
    return {"schema_version": SCHEMA_VERSION, **runs.run_detail(current().ws, run_id).as_json()}


@router.get("/api/runs/{run_id}/events")
def run_events(run_id: str, offset: Annotated[int, Query(ge=0)] = 0) -> StreamingResponse:
    """Return the events of a run as JSON lines, from a byte offset that an earlier answer gave.

    `X-Next-Offset` is where the next request goes on.
    """
    state = runs.get_run(current().ws, run_id)
    reader = JournalReader(RunFolder(Path(state.folder)).journal_path, offset)
    events = list(reader.read_new())

    def lines() -> Iterator[bytes]:
        for event in events:
            yield orjson.dumps(event.as_json()) + b"\n"

    headers = {"X-Next-Offset": str(reader.offset)}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


@router.get("/api/report", response_class=HTMLResponse)
def show_report(since: Annotated[str, Query(max_length=40)] = "last") -> str:
    """Return what ended as one page without scripts: since a span such as `12h`, or the newest night."""
    return html_report(morning_report(current().ws, since))


async def _coded(_request: Request, error: Exception) -> JSONResponse:
    """Answer with the code, the sentence and the hint of a known failure."""
    assert isinstance(error, BackpropagateError)
    status = 400 if error.exit_code is ExitCode.USER else 500
    return JSONResponse({"error": error.record()}, status_code=_STATUS.get(error.code, status))


def create_api() -> FastAPI:
    """Return the API without its own documentation pages, which would load scripts from elsewhere."""
    api = FastAPI(title="Backpropagate", docs_url=None, redoc_url=None, openapi_url=None)
    api.include_router(router)
    api.include_router(uploads.router)
    api.include_router(exports.router)
    api.include_router(data.router)
    api.include_router(openai.router)
    api.add_exception_handler(BackpropagateError, _coded)
    return api
