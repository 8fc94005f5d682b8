"""`backprop ui`: starts the web app. The app is another package, found by name when it is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from backprop_core.errors import ExitCode
from backpropagate.cli.root import command

_MODULE: Final = "backprop_app.serve"
_NEEDED: Final = ("reflex", "uvicorn", "psutil", "jwt", "cryptography")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "ui")(ui)


def ui(
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65_535, help="Port of page and API. Default: 7860.")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default: this machine only.")
    ] = None,
    data_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--data-dir",
            exists=True,
            file_okay=False,
            help="A folder that the page may read data from; may repeat.",
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            "--auth",
            metavar="USER:PASSWORD",
            help="Ask for this login. Others on the machine can read it; `backprop auth set` is safer.",
        ),
    ] = None,
    auth_file: Annotated[
        Path | None,
        typer.Option("--auth-file", help="File with the line user:password that only you can read."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A further name under which others reach the app; may repeat.",
        ),
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Reachable from outside by a tunnel; needs a login.")
    ] = False,
    share_via: Annotated[
        str,
        typer.Option(
            "--share-via",
            metavar="PROVIDER",
            help="Who provides the tunnel: cloudflared (default), or ssh:USER@HOST for a server of yours.",
        ),
    ] = "",
    share_for: Annotated[
        str,
        typer.Option(
            "--share-for", metavar="TIME", help="When sharing ends: 90m, 8h, 3d. Default: 72h, at most 7d."
        ),
    ] = "",
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser of this machine.")
    ] = True,
    check: Annotated[
        bool,
        typer.Option("--check", help="Knock at the app as a stranger would, say what came of it, and end."),
    ] = False,
) -> int:
    """Start the web app. Ctrl-C ends the page, not the runs."""
    import importlib

    from backprop_core.config.settings import load_settings

    _require_extra()
    settings = load_settings(overrides={"ui__port": port, "ui__host": host})[0]
    app = importlib.import_module(_MODULE)
    options = app.ServeOptions(
        host=settings.ui__host,
        port=settings.ui__port,
        data_dirs=tuple(folder.absolute() for folder in data_dir or ()),
        opens_browser=open_page and _has_browser(),
        share=share,
        share_via=share_via,
        share_for=share_for,
        allow_hosts=tuple(allow_host or ()),
        auth=auth,
        auth_file=auth_file,
    )
    if check:
        return _show_check(app.check(options))
    app.serve(options)
    return ExitCode.OK


def _show_check(results: list[Any]) -> int:
    """Print one line per knock and return the exit code."""
    from backpropagate.cli.render import put, talk

    for result in results:
        put(f"{'ok  ' if result.holds else 'FAIL'}  {result.status or '---'}  {result.name}")
    failed = sum(not result.holds for result in results)
    talk(f"{len(results) - failed} of {len(results)} knocks were answered as they must be.")
    return ExitCode.RUNTIME if failed else ExitCode.OK


def _require_extra() -> None:
    from importlib.util import find_spec

    from backprop_core.errors import DependencyError

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise DependencyError(
            "DEP_EXTRA_MISSING",
            f"The web app needs {', '.join(missing)}.",
            hint="pip install 'backpropagate[ui]'",
        )


def _has_browser() -> bool:
    """Return whether a page could be opened: not over SSH, not without a display."""
    import os
    import sys

    from backprop_core import platform

    if "SSH_CONNECTION" in os.environ or not sys.stderr.isatty():
        return False
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return has_display or platform.WINDOWS or platform.MACOS
