"""An SSH server on loopback for the tests, with keys of its own; installed when the machine has none."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.ui_server import free_port

HOW = "The SSH test needs sshd and ssh-keygen: apt-get install openssh-server openssh-client"


def require() -> Path:
    """Return the server program, installed now when there is none.

    Raises:
        RuntimeError: none could be found or installed; the message says how to get one.
    """
    if (found := _find()) is not None:
        return found
    tried = []
    if shutil.which("apt-get") is not None:
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        # Nothing is started by the package itself.
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        for command in (
            ["update", "-qq"],
            ["install", "-y", "-qq", "--no-install-recommends", "openssh-server"],
        ):
            done = subprocess.run(
                [*prefix, "apt-get", *command], env=environment, capture_output=True, text=True, check=False
            )
            tried.append(done.stderr[-1000:])
        if (found := _find()) is not None:
            return found
    raise RuntimeError("\n".join([HOW, *tried]))


@contextlib.contextmanager
def server(folder: Path) -> Iterator[int]:
    """Run a server whose key lies in `folder / "known"` and that takes `folder / "client"`; yield its port."""
    port = free_port()
    serve: list[str | Path] = [require(), "-D", "-e", "-p", str(port), "-f", str(_configure(folder))]
    with _running(serve, folder / "sshd.log", port):
        key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{port} {key}")
        yield port


@contextlib.contextmanager
def forwarded(folder: Path, remote_port: int) -> Iterator[int]:
    """Run a server and `ssh -L LOCAL:localhost:REMOTE` through it; yield the local port."""
    local_port = free_port()
    with server(folder) as port:
        forward: list[str | Path] = [
            *("ssh", "-N", "-L", f"{local_port}:localhost:{remote_port}", "-p", str(port)),
            *("-i", str(folder / "client"), "-F", "none", "-o", f"UserKnownHostsFile={folder / 'known'}"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
            *("-o", "ExitOnForwardFailure=yes", f"{getpass.getuser()}@127.0.0.1"),
        ]
        with _running(forward, folder / "ssh.log", local_port):
            yield local_port


@contextlib.contextmanager
def _running(command: list[str | Path], log: Path, port: int) -> Iterator[None]:
    """Run a program for as long as the block runs, from the moment its port takes connections."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output
        )
    try:
        _wait(port, process, log)
        yield
    finally:
        # A server's open connections are processes of their own, which its end leaves alone.
        for connection in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                connection.kill()
        process.terminate()
        process.wait(10)


def _configure(folder: Path) -> Path:
    """Make the keys and the configuration of a server that lets in this user by key alone."""
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    lines = {
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "client.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    path = folder / "sshd_config"
    path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    return path


def _find() -> Path | None:
    found = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    has_client = shutil.which("ssh") and shutil.which("ssh-keygen")
    return Path(found) if found and has_client else None


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text())
        time.sleep(0.05)
