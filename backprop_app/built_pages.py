"""Serves the built pages; an address that a page has is answered directly, without a redirect."""

from __future__ import annotations

from pathlib import Path

from reflex.utils.precompressed_staticfiles import PrecompressedStaticFiles
from starlette.responses import Response
from starlette.types import Scope


class BuiltPages(PrecompressedStaticFiles):
    """Static files of the bundle, the compressed twin where the browser takes it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or the page whose folder `path` names."""
        page = Path(path) / "index.html"
        if path not in {"", "."} and self.lookup_path(str(page))[1] is not None:
            path = str(page)
        response: Response = await super().get_response(path, scope)
        return response
