"""Everything that a client can address in the web app: `python -m tests.support.app_table` prints it as JSON.

Read from the finished app in a process of its own, because one process holds one Reflex app.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class AppTable:
    """What the app offers.

    Attributes:
        routes: method and path with `x` for each part that varies.
        handlers: full name of every handler and the names of its arguments with their types.
        sockets: paths of websockets.
    """

    routes: list[tuple[str, str]]
    handlers: dict[str, dict[str, str]]
    sockets: list[str]


def read_table() -> AppTable:
    """Return the table of the app as it is now; the bundle must be built."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.app_table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout.splitlines()[-1])
    return AppTable([(method, path) for method, path in value["routes"]], value["handlers"], value["sockets"])


def bundle_files() -> list[str]:
    """Return the address of every file of the bundle."""
    from backprop_app.build.manifest import WEB_DIR

    return [
        f"/{path.relative_to(WEB_DIR).as_posix()}" for path in sorted(WEB_DIR.rglob("*")) if path.is_file()
    ]


def _table() -> dict[str, Any]:
    from backprop_app import site

    site.prepare_environment(Path(tempfile.mkdtemp()))
    from backprop_app.security.rules import Policy

    site.build_app(Policy())
    from fastapi import FastAPI
    from reflex_base.registry import RegistrationContext
    from starlette.routing import Mount

    from backprop_app.app import app

    routes, sockets = [("GET", path) for path in app._unevaluated_pages], []
    for route in app._api.routes:
        if isinstance(route, Mount):
            sockets += [route.path] if route.path else []
        else:
            routes += [(method, route.path) for method in route.methods]
    for part in app.api_transformer:
        if isinstance(part, FastAPI):
            routes += [
                (method.upper(), path) for path, item in part.openapi()["paths"].items() for method in item
            ]
    with app.set_contexts():
        registered = RegistrationContext.get().event_handlers
        handlers = {name: _arguments(item.handler.fn) for name, item in registered.items()}
    return {"routes": sorted({_filled(*route) for route in routes}), "handlers": handlers, "sockets": sockets}


def _filled(method: str, path: str) -> tuple[str, str]:
    parts = ["x" if part[:1] in {"{", "["} else part for part in path.strip("/").split("/")]
    return method, f"/{'/'.join(parts)}"


def _arguments(handler: Any) -> dict[str, str]:
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    return {parameter.name: str(parameter.annotation) for parameter in parameters}


if __name__ == "__main__":
    print(json.dumps(_table()))
