"""Who can carry the app outside: which program to run, and how strictly its words are read. Pure.

A provider is a program that the user installed. Nothing is downloaded, no shell is used, and the app itself
listens on loopback whatever the provider does.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from backprop_core.errors import InputError

CLOUDFLARED: Final = "cloudflared"
_QUICK_NAME: Final = re.compile(r"https://((?:[a-z0-9]{1,30}-){1,9}[a-z0-9]{1,30}\.trycloudflare\.com)/?")
_SSH: Final = re.compile(
    r"ssh:(?P<user>[A-Za-z_][A-Za-z0-9_.-]{0,31})@"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?"
)
_BETWEEN: Final = re.compile(r"[\s|]+")
_LIFE: Final = re.compile(r"([0-9]{1,5})([mhd])")
_UNIT_S: Final = {"m": 60, "h": 3600, "d": 86_400}
LONGEST_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the app is reached through a tunnel.

    Attributes:
        url: for the operator.
        name: host name in the requests that come through.
        dial: address and port at which the probe enters the tunnel.
        is_tls: whether the way in there is https.
        is_lasting: whether `name` stays on the list of hosts; else it is there for the probe alone.
    """

    url: str
    name: str
    dial: tuple[str, int]
    is_tls: bool
    is_lasting: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        command: program with an absolute path, and its arguments.
        reach: where the app will be, when that is known beforehand.
        read: finds it in one line of output otherwise.
    """

    command: tuple[str, ...]
    reach: Reach | None
    read: Callable[[str], Reach | None]


class Provider(Protocol):
    """Somebody who carries the app outside."""

    @property
    def program(self) -> str:
        """What has to be installed."""

    @property
    def install_hint(self) -> str:
        """How it is installed."""

    @property
    def readers(self) -> str:
        """Who can read what passes, as a sentence."""

    @property
    def peer_header(self) -> bytes:
        """The header in which the provider, and nobody else, tells the address of a visitor."""

    def plan(self, program: Path, port: int, spare_port: int, config: Path) -> Plan:
        """Return what to run for the app on `port`.

        Args:
            program: where the program lies.
            port: of the app on loopback.
            spare_port: a free one, for a provider that needs a way back.
            config: an empty file, for a program that would read one of its own.
        """


class QuickTunnel:
    """Cloudflare's tunnel without an account: a random name under trycloudflare.com."""

    program = CLOUDFLARED
    install_hint = (
        "https://developers.cloudflare.com/cloudflare-one/networks/connectors/cloudflare-tunnel/downloads"
    )
    readers = (
        "Cloudflare ends the encryption and can read everything that passes, the password included. "
        "These tunnels come without any promise and are meant for trying things out."
    )
    peer_header = b"cf-connecting-ip"

    def plan(self, program: Path, port: int, spare_port: int, config: Path) -> Plan:
        """See `Provider`. The user's own configuration would add routes of its own, so it is not read."""
        command = (str(program), "tunnel", "--config", str(config), "--no-autoupdate")
        return Plan((*command, "--url", f"http://127.0.0.1:{port}"), None, read_quick_tunnel)


def read_quick_tunnel(line: str) -> Reach | None:
    """Return where the app is, when the line names a whole address of a quick tunnel and nothing like it."""
    for word in _BETWEEN.split(line):
        match = _QUICK_NAME.fullmatch(word)
        if match is not None:
            return Reach(f"https://{match[1]}", match[1], (match[1], 443), is_tls=True, is_lasting=True)
    return None


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server of the user's, by `ssh -R`: the app appears on the loopback of that server."""

    user: str
    host: str
    ssh_port: int | None = None

    program = "ssh"
    install_hint = "Install the OpenSSH client of your system."
    peer_header = b""

    @property
    def readers(self) -> str:
        """Who can read what passes."""
        return (
            f"Whoever is root on {self.host} can read everything that passes; everybody with an account there "
            "reaches the login page."
        )

    def plan(self, program: Path, port: int, spare_port: int, config: Path) -> Plan:
        """See `Provider`. The spare port leads to the server and from there back to the app, for the probe."""
        options = [
            *("BatchMode=yes", "ExitOnForwardFailure=yes", "StrictHostKeyChecking=yes"),
            *("ServerAliveInterval=15", "ServerAliveCountMax=3", "ConnectTimeout=15"),
            *("ControlMaster=no", "ControlPath=none", "PermitLocalCommand=no", "RequestTTY=no"),
        ]
        command = [str(program), "-N", "-T", "-a", "-x"]
        command += [part for option in options for part in ("-o", option)]
        command += ["-R", f"127.0.0.1:{port}:127.0.0.1:{port}"]
        command += ["-L", f"127.0.0.1:{spare_port}:127.0.0.1:{port}"]
        command += ["-p", str(self.ssh_port)] if self.ssh_port else []
        command += ["-l", self.user, "--", self.host]
        # Any account of the server may call the app by any name, so a name that nobody knows is probed.
        name = f"{secrets.token_hex(8)}.invalid"
        reach = Reach(
            f"http://localhost:{port}", name, ("127.0.0.1", spare_port), is_tls=False, is_lasting=False
        )
        return Plan(tuple(command), reach, lambda _: None)


def choose(text: str) -> Provider:
    """Return the provider that `--share-via` names; cloudflared when it names none.

    Raises:
        InputError: INPUT_VALIDATION_FAILED.
    """
    if text in {"", CLOUDFLARED}:
        return QuickTunnel()
    match = _SSH.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or ".." in match["host"] or (port is not None and not 0 < port < 65_536):
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"--share-via {text[:80]!r} names no provider.",
            hint="It is cloudflared, or ssh:USER@HOST for a server of yours.",
        )
    return OwnServer(match["user"], match["host"], port)


def life_s(text: str) -> int:
    """Return the seconds of `--share-for`, such as `90m`, `8h` or `3d`.

    Raises:
        InputError: INPUT_VALIDATION_FAILED, no such time or more than seven days.
    """
    match = _LIFE.fullmatch(text)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if not 0 < seconds <= LONGEST_S:
        raise InputError(
            "INPUT_VALIDATION_FAILED",
            f"--share-for {text[:40]!r} is no time between 1m and 7d.",
            hint="Write a number and m, h or d: 90m, 8h, 3d.",
        )
    return seconds
