"""The report on a data file as a download; it is made on the Dataset page and only read here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from backprop_app.runtime import current
from backprop_core.datasets.review_html import to_html
from backprop_core.errors import InputError
from backprop_core.services import datasets
from backprop_core.services.datasets import DataChoices

router = APIRouter()


@router.get("/api/data/report")
def report(
    file: Annotated[str, Query(max_length=4096)],
    model: Annotated[str, Query(max_length=4096)],
    max_seq_length: Annotated[int, Query(ge=8, le=1_000_000)] = 2048,
    heldout: Annotated[str, Query(max_length=4096)] = "",
    learns_all: bool = False,
    format: Literal["html", "json"] = "html",
) -> Response:
    """Return the report that was made with these choices.

    Raises:
        InputError: INPUT_RUN_NOT_FOUND when none was made, or the file changed since.
        StateError: SANDBOX_PATH_OUTSIDE.
    """
    runtime = current()
    choices = DataChoices(model, max_seq_length, not learns_all)
    other = Path(heldout) if heldout else None
    found = datasets.known_review(runtime.ws, Path(file), choices, runtime.memo, heldout=other)
    if found is None:
        raise InputError("INPUT_RUN_NOT_FOUND", "There is no such report.", hint="Make it on the page first.")
    is_page = format == "html"
    body = to_html(found).encode() if is_page else orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2)
    name = f"{Path(file).stem}.report.{format}"
    return Response(
        body,
        media_type="text/html" if is_page else "application/json",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"},
    )
