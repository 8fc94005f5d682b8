"""Programs that stand in for tunnel providers, and an `ssh` that finds the keys of a test."""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "quiet-paper-boat-lamp.trycloudflare.com"

_HEAD = "import os, socket, sys, threading, time\nport = int(sys.argv[-1].rpartition(':')[2])\n"

# A line like those of the real program, among others.
_SAYS = (
    "print('2026-01-01T00:00:00Z INF Requesting new quick Tunnel on trycloudflare.com... '"
    "'https://developers.cloudflare.com/x', flush=True)\n"
    "print('2026-01-01T00:00:01Z INF |  {url}  |', file=sys.stderr, flush=True)\n"
)

# Ends TLS in real life; here it puts its own name for the visitor's, like the edge of a provider.
_RELAY = """
def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    target.close()

def serve(visitor):
    head = b''
    while b'\\r\\n\\r\\n' not in head:
        part = visitor.recv(65536)
        if not part:
            return visitor.close()
        head += part
    lines = head.split(b'\\r\\n')
    lines = [b'host: {host}' if line.lower().startswith(b'host:') else line for line in lines]
    inner = socket.create_connection(('127.0.0.1', port))
    inner.sendall(b'\\r\\n'.join(lines))
    threading.Thread(target=pump, args=(inner, visitor), daemon=True).start()
    pump(visitor, inner)

outer = socket.create_server(('127.0.0.1', {relay}))
print('pid', os.getpid(), flush=True)
while True:
    threading.Thread(target=serve, args=(outer.accept()[0],), daemon=True).start()
"""

GARBAGE = (
    "while True:\n    sys.stdout.buffer.write(os.urandom(65536)); sys.stdout.flush(); time.sleep(0.05)\n"
)
SILENT = "time.sleep(600)\n"
NO_SHELL = "print('$(touch owned) ; `touch owned`', flush=True)\nsys.exit(7)\n"


def says(url: str, then: str = SILENT) -> str:
    """Return the body of a program that prints an address and goes on."""
    return _SAYS.format(url=url) + then


def relays(relay: int, host: str = NAME) -> str:
    """Return the body of a program that carries a port of loopback to the app under the name `host`."""
    return says(f"https://{NAME}", _RELAY.format(relay=relay, host=host))


def program(folder: Path, body: str, name: str = "cloudflared") -> Path:
    """Write a program into `folder` and return the folder, for PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable} -I\n{_HEAD}{body}")
    path.chmod(0o755)
    return folder


def ssh_for(folder: Path, keys: Path, real: str, moved: tuple[int, int]) -> Path:
    """Write an `ssh` that knows the keys of a test and return its folder.

    Server and app are one machine here, so the app's own port is taken on the server: `moved` tells the
    port that stands for it there.
    """
    own, there = (f"127.0.0.1:{port}" for port in moved)
    body = f"""
words, found = sys.argv[1:], []
for before, word in zip(['', *words], words):
    if before == '-R':
        word = {there!r} + word.removeprefix({own!r})
    if before == '-L':
        word = word.replace({own!r}, {there!r})
    found.append(word)
os.execv({real!r}, [{real!r}, '-F', 'none', '-i', {str(keys / "client")!r},
                    '-o', 'UserKnownHostsFile={keys / "known"}', *found])
"""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ssh"
    path.write_text(f"#!{sys.executable} -I\nimport os, sys\n{body}")
    path.chmod(0o755)
    return folder
