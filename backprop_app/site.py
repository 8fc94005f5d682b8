"""The finished ASGI app: Reflex's backend, the built pages, the gate around both.

The one module that touches parts of Reflex that are not documented: how to skip the compile, and where
its routes are kept. `tests/integration/test_serve.py` is its contract.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from backprop_app.build import manifest
from backprop_app.security.access import Access
from backprop_app.security.csp import bundle_hashes
from backprop_app.security.gate import Gate
from backprop_app.security.rules import Policy


def prepare_environment(work: Path) -> None:
    """Point everything that Reflex writes into `work` and put the markers of the bundle there.

    Must run before Reflex is imported.
    """
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Content alone: an installation may be read-only, and the next start writes these files again.
    shutil.copytree(
        manifest.UI_DIR / "backend", work / "backend", dirs_exist_ok=True, copy_function=shutil.copyfile
    )
    os.environ.update(
        REFLEX_ENV_MODE="prod",
        REFLEX_BACKEND_ONLY="true",
        REFLEX_TELEMETRY_ENABLED="false",
        REFLEX_CHECK_LATEST_VERSION="false",
        REFLEX_WEB_WORKDIR=str(work),
        REFLEX_DIR=str(work / "reflex"),
        REFLEX_STATES_WORKDIR=str(work / "states"),
        REFLEX_UPLOADED_FILES_DIR=str(work / "uploads"),
    )


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def build_app(policy: Policy, access: Access | None = None) -> Gate:
    """Import the app, compare it with the bundle and return everything behind one gate.

    Args:
        policy: what the operator allowed.
        access: who may pass, when the policy asks for a session.

    Reflex looks for `rxconfig.py` in the current folder only, hence the short change of folder.

    Raises:
        DependencyError: RUNTIME_UI_BUNDLE_INVALID when the bundle belongs to other code.
    """
    with _inside(manifest.UI_DIR):
        from reflex_base.environment import environment

        environment.REFLEX_SKIP_COMPILE.set(True)
        from backprop_app.app import app
        from backprop_app.build.schema import state_schema

        manifest.require_match(manifest.read(), state_schema())
        from starlette.routing import Mount

        from backprop_app.built_pages import BuiltPages

        pages = BuiltPages(directory=manifest.WEB_DIR, html=True, encodings=["gzip"], router=app.router)
        app._api.routes.append(Mount("/", app=pages, name="pages"))
        asgi = app()
    return Gate(asgi, policy, bundle_hashes(manifest.WEB_DIR), access)
