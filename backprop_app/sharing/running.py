"""Serves the app and shares it at the same time; what happens to the share is said on terminal and page."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backprop_app.security.gate import Gate
from backprop_app.security.modes import reverse_line, ssh_line
from backprop_app.security.rules import Policy
from backprop_app.sharing.providers import OwnServer, Provider, Reach
from backprop_app.sharing.share import Share, Way
from backprop_app.sharing.tunnel import Tunnel, find_program
from backprop_core.auth.audit import AuditLog
from backprop_core.errors import DependencyError
from backprop_core.files import write_text
from backprop_core.ports import SystemClock

if TYPE_CHECKING:
    import uvicorn


@dataclass(frozen=True, slots=True)
class Sharing:
    """What is shared, by whom and for how long.

    Attributes:
        provider: who carries it.
        program: where the provider's program lies.
        life_s: when it ends.
        wait_s: how long the tunnel may take until it works.
        environ: from which the program gets the few variables that it needs.
        way: where the probe enters the tunnel, when the provider's address cannot be looked up.
    """

    provider: Provider
    program: Path
    life_s: float
    wait_s: float
    environ: Mapping[str, str]
    way: Way | None = None


def find_provider(provider: Provider, environ: Mapping[str, str], port: int) -> Path:
    """Return where the provider's program lies.

    Raises:
        DependencyError: DEP_TUNNEL_MISSING, with the lines that do the same over SSH.
    """
    program = find_program(provider.program, environ)
    if program is None:
        raise DependencyError(
            "DEP_TUNNEL_MISSING",
            f"{provider.program} is not in any folder of PATH, and it is not downloaded for you. "
            "No port was opened.",
            hint=(
                f"{provider.install_hint} Or start without --share; from a machine that reaches this one: "
                f"{ssh_line(port)} ; to lend it to a server of yours: {reverse_line(port)}"
            ),
        )
    return program


async def serve_shared(
    sharing: Sharing,
    server: uvicorn.Server,
    started: asyncio.Event,
    gate: Gate,
    policy: Policy,
    *,
    sockets: list[socket.socket],
    home: Path,
    assets: tuple[str, ...],
    announce: Callable[[], None],
) -> None:
    """Serve until the user ends it; the share may end before.

    Args:
        sharing: what is shared.
        server: of the app.
        started: set by the server once it serves.
        gate: in front of the app.
        policy: of the gate.
        sockets: to serve on.
        home: folder of the store.
        assets: addresses of files of the bundle, for the probe.
        announce: tells where the page is locally.

    Raises:
        RunError: RUNTIME_TUNNEL_FAILED, RUNTIME_UI_GATE_OPEN; the app has ended by then.
    """
    port = sockets[0].getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets=sockets))
    waiting = asyncio.create_task(started.wait())
    sharing_task: asyncio.Task[None] | None = None
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            work = _share(sharing, gate, policy, port=port, home=home, assets=assets, announce=announce)
            sharing_task = asyncio.create_task(work)
            await asyncio.wait({serving, sharing_task}, return_when=asyncio.FIRST_COMPLETED)
            if sharing_task.done() and sharing_task.exception() is not None:
                server.should_exit = True
        await serving
    finally:
        waiting.cancel()
        if sharing_task is not None:
            sharing_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sharing_task


async def _share(
    sharing: Sharing,
    gate: Gate,
    policy: Policy,
    *,
    port: int,
    home: Path,
    assets: tuple[str, ...],
    announce: Callable[[], None],
) -> None:
    """Open the tunnel, tell where it leads, keep it, tell that it is over."""
    config = home / "ui" / "no-config.yml"
    write_text(config, "")
    plan = sharing.provider.plan(sharing.program, port, _spare_port(), config)
    tunnel = Tunnel(plan, sharing.environ)
    share = Share(tunnel, sharing.provider, gate, policy, wait_s=sharing.wait_s, way=sharing.way)
    log = AuditLog(home, SystemClock())
    reach = await share.open(assets)
    try:
        until = datetime.now().astimezone() + timedelta(seconds=sharing.life_s)
        announce()
        _tell_open(sharing.provider, reach, until, port)
        log.write("share.open", user="", peer="terminal", url=reach.url, via=sharing.provider.program)
        reason = await share.hold(sharing.life_s)
        log.write("share.end", user="", peer="terminal", url=reach.url, reason=reason)
        _tell_end(reason)
    finally:
        await share.close()


def _tell_open(provider: Provider, reach: Reach, until: datetime, port: int) -> None:
    from backprop_app import runtime

    where = reach.url
    lines = [f"Shared until {until:%d %b %H:%M}, login needed. {provider.readers}"]
    if isinstance(provider, OwnServer):
        where = f"{reach.url} on {provider.host}"
        lines.append(f"From elsewhere: ssh -L {port}:localhost:{port} {provider.user}@{provider.host}")
        lines.append(
            f"Or let the https server of {provider.host} hand on a name to port {port} there, and start with "
            "--allow-host NAME."
        )
    else:
        sys.stdout.write(f"{reach.url}\n")
        sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n")
    runtime.current().tell(f"Shared at {where} until {until:%H:%M}. {provider.readers}")


def _tell_end(reason: str) -> None:
    from backprop_app import runtime

    sys.stderr.write(f"No longer shared. {reason} The app goes on here.\n")
    runtime.current().tell(f"No longer shared. {reason} The page goes on on the machine itself.", is_bad=True)


def _spare_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
