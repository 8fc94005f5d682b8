"""The launcher of the web app: what `backprop ui` and the container run.

Serves the built bundle, page, API and websocket on one port, without Node and without torch. Decides
nothing about what may reach the app; that is the policy's and the gate's.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import getpass
import os
import socket
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from backprop_app.build import manifest
from backprop_app.security.rules import Policy, is_loopback
from backprop_core.errors import InputError, RunError
from backprop_core.version import __version__

_GRACE_S: Final = 3
_BACKLOG: Final = 128
_SOCKET_MESSAGE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How the app is started.

    Attributes:
        host: address to listen on; anything but loopback needs a login.
        port: one port for page, API and websocket.
        home: folder of the store; `BACKPROPAGATE_HOME` or the default when None.
        data_dirs: folders that the page may read data from.
        opens_browser: whether to open the page once it answers.
        share: whether the app is to be reachable from outside; needs a login.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    home: Path | None = None
    data_dirs: tuple[Path, ...] = ()
    opens_browser: bool = False
    share: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def serve(options: ServeOptions) -> None:
    """Serve the web app until it is interrupted.

    Raises:
        InputError: INPUT_AUTH_REQUIRED, the app would be reachable from outside; nothing was opened.
        RunError: RUNTIME_UI_PORT_IN_USE, another program listens on the port.
        DependencyError: RUNTIME_UI_BUNDLE_INVALID, the bundle is missing or stale.
        ConfigError, StateError: a setting or the store cannot be used.
    """
    policy = policy_for(options)
    manifest.read()
    sockets = bind(options.host, options.port)
    try:
        asyncio.run(_run(options, policy, sockets))
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Runs go on.\n")
    finally:
        for listening in sockets:
            listening.close()


def policy_for(options: ServeOptions) -> Policy:
    """Return what the gate lets through.

    Raises:
        InputError: INPUT_AUTH_REQUIRED for anything that is not loopback.
    """
    if options.share or not is_loopback(options.host):
        what = "--share" if options.share else f"--host {options.host}"
        raise InputError(
            "INPUT_AUTH_REQUIRED",
            f"{what} would let others reach this machine, and no login is set up.",
            hint=f"Keep the default address and forward the port: {ssh_line(options.port)}",
        )
    return Policy(mode="local")


def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets on `host`; for 127.0.0.1 on ::1 too, where there is one.

    Raises:
        RunError: RUNTIME_UI_PORT_IN_USE.
    """
    listening = [_listen(host, port)]
    if host in {"127.0.0.1", "localhost"} and socket.has_ipv6:
        with contextlib.suppress(OSError, RunError):
            listening.append(_listen("::1", listening[0].getsockname()[1]))
    return listening


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise RunError(
                "RUNTIME_UI_PORT_IN_USE", f"Port {port} on {host} is taken by another program."
            ) from error
        raise InputError(
            "INPUT_VALIDATION_FAILED", f"{host} is no address of this machine: {error.strerror}."
        ) from error
    return listening


async def _run(options: ServeOptions, policy: Policy, sockets: list[socket.socket]) -> None:
    asgi = await asyncio.to_thread(_load, options, policy)
    import uvicorn

    port = sockets[0].getsockname()[1]

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                announce(options, port)

    config = uvicorn.Config(
        asgi,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=_SOCKET_MESSAGE_BYTES,
        ws_per_message_deflate=True,
        timeout_graceful_shutdown=_GRACE_S,
    )
    await Server(config).serve(sockets=sockets)


def _load(options: ServeOptions, policy: Policy) -> Any:
    """Open the store once so that a bad setting is told before the app starts, then build the app."""
    from backprop_app import runtime, site
    from backprop_core.services.opening import open_workspace

    def opener() -> Any:
        overrides = {"home": options.home} if options.home else None
        return open_workspace(environ=options.environ, overrides=overrides, data_dirs=options.data_dirs)

    ws = opener()
    ws.sandbox.prepare()
    work = ws.home / "ui"
    ws.close()
    runtime.configure(opener)
    site.prepare_environment(work)
    return site.build_app(policy)


def announce(options: ServeOptions, port: int) -> None:
    """Print where the page is, and what its user should know about this machine."""
    name = "localhost" if options.host in {"127.0.0.1", "::1", "localhost"} else options.host
    url = f"http://{name}:{port}"
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    lines = [f"Backpropagate {__version__} is at {url}  (Ctrl C ends the page, not the runs)"]
    if "SSH_CONNECTION" in options.environ:
        lines.append(f"From your own machine: {ssh_line(port)}")
    others = other_accounts()
    if others:
        lines.append(
            f"warning: {', '.join(others)} {'is' if len(others) == 1 else 'are'} logged in here too and can "
            "open this page."
        )
    sys.stderr.write("\n".join(lines) + "\n")
    if options.opens_browser:
        webbrowser.open(url)


def ssh_line(port: int) -> str:
    """Return the command that forwards the port from another machine."""
    return f"ssh -L {port}:localhost:{port} {getpass.getuser()}@{socket.gethostname()}"


def other_accounts() -> list[str]:
    """Return the names of other people logged in on this machine."""
    import psutil

    return sorted({user.name for user in psutil.users()} - {getpass.getuser()})
