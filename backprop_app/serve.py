"""The launcher of the web app: what `backprop ui` and the container run.

Serves the built bundle, page, API and websocket on one port, without Node and without torch. The order is
credential, gate, port, a stranger's knock at the finished app, address: what fails on the way is never
exposed. Decides nothing about what may reach the app; that is the policy's and the gate's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from backprop_app.build import manifest
from backprop_app.listening import LOOPBACK, bind, knock_privately, make_server
from backprop_app.security import containers, modes
from backprop_app.security.probe import Result, knocks, probe
from backprop_app.security.rules import Policy, is_loopback
from backprop_app.sharing import providers
from backprop_app.sharing.running import Sharing, find_provider, serve_shared
from backprop_app.sharing.share import Way
from backprop_core import platform
from backprop_core.config.settings import load_settings
from backprop_core.errors import RunError, StateError
from backprop_core.platform import FileLock, private_umask
from backprop_core.redact import RedactingFormatter
from backprop_core.services.access import Login, set_up_login
from backprop_core.version import __version__

_SHARE_FOR: Final = "72h"
# Below the time that the compose file gives the container to stop.
_WORKERS_END_S: Final = 45.0


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
        share_via: who provides the way in from outside, `cloudflared` or `ssh:USER@HOST`.
        share_for: when sharing ends, `90m`, `8h` or `3d`.
        share_wait_s: how long the tunnel may take until it works.
        share_way: where the probe enters the tunnel, when the provider's address cannot be looked up.
        allow_hosts: names under which the app may be reached, besides the loopback ones.
        auth: `user:password` of the login.
        auth_file: file that holds it.
    """

    host: str = LOOPBACK
    port: int = 7860
    home: Path | None = None
    data_dirs: tuple[Path, ...] = ()
    opens_browser: bool = False
    share: bool = False
    share_via: str = ""
    share_for: str = ""
    share_wait_s: float = 30.0
    share_way: Way | None = None
    allow_hosts: tuple[str, ...] = ()
    auth: str | None = field(default=None, repr=False)
    auth_file: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def wanted(self) -> modes.Wanted:
        """The part that decides about exposure."""
        return modes.Wanted(
            self.host, self.port, self.share, self.share_via, self.share_for, self.allow_hosts
        )

    @property
    def overrides(self) -> dict[str, Any]:
        """The part that overrides settings."""
        return {"home": self.home} if self.home else {}


@dataclass(frozen=True, slots=True)
class Entry:
    """How the app may be entered: the policy of the gate, the login and the share if there is one."""

    policy: Policy
    login: Login | None
    home: Path
    sharing: Sharing | None = None


def serve(options: ServeOptions) -> None:
    """Serve the web app until it is interrupted.

    Raises:
        InputError: INPUT_AUTH_REQUIRED, the app would be reachable from outside; INPUT_AUTH_INVALID_SHAPE.
            Nothing was opened.
        StateError: STATE_UI_RUNNING, another web app serves this home.
        RunError: RUNTIME_UI_PORT_IN_USE, another program listens on the port; RUNTIME_UI_GATE_OPEN, a
            stranger would have got in; RUNTIME_TUNNEL_FAILED, the share did not open.
        DependencyError: RUNTIME_UI_BUNDLE_INVALID, the bundle is missing or stale; DEP_TUNNEL_MISSING.
        ConfigError, StateError: a setting or the store cannot be used.
    """
    entry = entry_for(options)
    manifest.read()
    lock = FileLock(_prepared(entry.home) / "ui.lock")
    sockets = bind(options.host, options.port)
    if containers.in_image():
        # What stops a container sends this signal, and the workers end with the container.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _require_alone(lock)
        asyncio.run(_run(options, entry, sockets))
    except KeyboardInterrupt:
        sys.stderr.write(_farewell(options))
    finally:
        lock.release()
        for listening in sockets:
            listening.close()


def _prepared(home: Path) -> Path:
    with private_umask():
        home.mkdir(parents=True, exist_ok=True)
    return home


def _require_alone(lock: FileLock) -> None:
    """Refuse a second web app on one home: two would show and ask for the same runs under two addresses.

    Raises:
        StateError: STATE_UI_RUNNING with the process that holds it.
    """
    if not lock.acquire():
        raise StateError(
            "STATE_UI_RUNNING", f"The process {lock.holder_pid()} serves the web app of {lock.path.parent}."
        )


def _farewell(options: ServeOptions) -> str:
    """Return the last line; in a container, end the runs in good order first."""
    if not containers.in_image():
        return "Stopped. Runs go on.\n"
    from backprop_core.jobs.shutdown import interrupt_all
    from backprop_core.services.opening import open_workspace

    ws = open_workspace(environ=options.environ, overrides=options.overrides)
    try:
        left = interrupt_all(ws, _WORKERS_END_S)
    finally:
        ws.close()
    return f"Stopped. {len(left)} runs did not end in time.\n" if left else "Stopped. Runs can be resumed.\n"


def check(options: ServeOptions) -> list[Result]:
    """Knock at the app that runs at the chosen address, or at one that is started for nobody else.

    Raises:
        the same as `serve`, except that an open gate is told in the results.
    """
    entry = entry_for(options)
    manifest.read()
    return asyncio.run(_check(options, entry))


def entry_for(options: ServeOptions) -> Entry:
    """Return how the app may be entered; opens no port.

    Raises:
        InputError: INPUT_AUTH_REQUIRED, INPUT_AUTH_INVALID_SHAPE, INPUT_VALIDATION_FAILED.
        DependencyError: DEP_TUNNEL_MISSING.
        ConfigError, StateError: a setting or the store cannot be used.
    """
    settings, _ = load_settings(options.environ, overrides=options.overrides)
    login = set_up_login(
        settings.home,
        options.environ,
        text=options.auth,
        file=options.auth_file,
        config_file=settings.ui__auth_file,
    )
    names = tuple(filter(None, (name.strip() for name in settings.ui__allow_hosts.split(","))))
    wanted = replace(
        options.wanted,
        allow_hosts=(*options.allow_hosts, *names),
        trusts_published=settings.security__trust_published_loopback,
        published=settings.ui__published_address,
        peers=containers.gateways() if containers.in_image() else frozenset(),
    )
    decided = modes.decide(wanted, has_credential=login is not None)
    policy = replace(decided, upload_cap_bytes=settings.ui__upload_limit_mib << 20)
    return Entry(policy, login, settings.home, _sharing(options) if options.share else None)


def _sharing(options: ServeOptions) -> Sharing:
    provider = providers.choose(options.share_via)
    life_s = providers.life_s(options.share_for or _SHARE_FOR)
    program = find_provider(provider, options.environ, options.port)
    return Sharing(provider, program, life_s, options.share_wait_s, options.environ, options.share_way)


async def _run(options: ServeOptions, entry: Entry, sockets: list[socket.socket]) -> None:
    gate = await asyncio.to_thread(_load, options, entry)
    port = sockets[0].getsockname()[1]
    # Connections to the port wait unread until the gate has held.
    require_closed(await knock_privately(gate, knocks(entry.policy, port, some_assets())))
    if entry.sharing is None:
        await make_server(gate, lambda: announce(options, entry, port)).serve(sockets=sockets)
        return
    started = asyncio.Event()
    await serve_shared(
        entry.sharing,
        make_server(gate, started.set),
        started,
        gate,
        entry.policy,
        sockets=sockets,
        home=entry.home,
        assets=some_assets(),
        announce=lambda: announce(options, entry, port),
    )


async def _check(options: ServeOptions, entry: Entry) -> list[Result]:
    tries = knocks(entry.policy, options.port, some_assets())
    address = LOOPBACK if options.host in {"localhost", "0.0.0.0"} else options.host  # noqa: S104
    alive = (await probe(address, options.port, tries[:1]))[0]
    if alive.holds:
        return await probe(address, options.port, tries)
    gate = await asyncio.to_thread(_load, options, entry)
    return await knock_privately(gate, tries)


def require_closed(results: list[Result]) -> None:
    """Refuse to go on when anybody got in.

    Raises:
        RunError: RUNTIME_UI_GATE_OPEN.
    """
    open_doors = [f"{result.name} (status {result.status})" for result in results if not result.holds]
    if open_doors:
        raise RunError("RUNTIME_UI_GATE_OPEN", f"The gate does not hold: {'; '.join(open_doors[:5])}.")


def some_assets() -> tuple[str, ...]:
    """Return addresses of files of the bundle, one of each kind."""
    found = {path.suffix: path for path in sorted((manifest.WEB_DIR / "assets").glob("*.*"))}
    return tuple(f"/assets/{path.name}" for path in found.values())


def _load(options: ServeOptions, entry: Entry) -> Any:
    """Open the store once so that a bad setting is told before the app starts, then build the app."""
    from backprop_app import runtime, site
    from backprop_app.security.guard import open_access
    from backprop_core.services.opening import open_workspace

    def opener() -> Any:
        return open_workspace(
            environ=options.environ, overrides=options.overrides, data_dirs=options.data_dirs
        )

    _redact_logs()
    ws = opener()
    ws.sandbox.prepare()
    work = ws.home / "ui"
    ws.close()
    runtime.configure(opener)
    site.prepare_environment(work)
    access = open_access(entry.login, entry.home) if entry.login else None
    return site.build_app(entry.policy, access)


def _redact_logs() -> None:
    """Give the root logger a handler that redacts, when the caller has not set one."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)


def announce(options: ServeOptions, entry: Entry, port: int) -> None:
    """Print where the page is, and what its user should know about this machine."""
    url = f"http://{_shown_name(options)}:{port}"
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    login = "login needed" if entry.login else "no login"
    lines = [f"Backpropagate {__version__} is at {url}, {login}  (Ctrl C ends the page, not the runs)"]
    if "SSH_CONNECTION" in options.environ:
        lines.append(f"From your own machine: {modes.ssh_line(port)}")
    if entry.policy.mode == "lan":
        lines.append(
            "warning: the connection is not encrypted; who can listen on this network reads what you type."
        )
    if entry.policy.mode == "container":
        lines.append(
            "The port is published on the loopback of the machine, and connections from elsewhere are refused. "
            "To publish it wider, set BACKPROPAGATE_UI__AUTH."
        )
    lines += [f"warning: {text}" for text in (entry.login.warnings if entry.login else ())]
    others = other_accounts() if entry.login is None else []
    if others:
        lines.append(
            f"warning: {', '.join(others)} {'is' if len(others) == 1 else 'are'} logged in here too and can "
            "open this page. Set a login: backprop auth set"
        )
    sys.stderr.write("\n".join(lines) + "\n")
    if options.opens_browser:
        webbrowser.open(url)


def _shown_name(options: ServeOptions) -> str:
    if is_loopback(options.host) or modes.is_everywhere(options.host):
        return "localhost"
    return f"[{options.host}]" if ":" in options.host else options.host


def other_accounts() -> list[str]:
    """Return the names of other people logged in on this machine."""
    import psutil

    return sorted({user.name for user in psutil.users()} - {platform.user_name()})
