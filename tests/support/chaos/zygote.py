"""A process that has everything imported and forks the others: `python -m tests.support.chaos.zygote SOCKET`.

Each request is one JSON line with the output file attached; the answer is the pid. It is the parent of
all it forks and tells their exit codes. It ends, and ends what it forked, with its socket's other end.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_MODULES = {
    "backprop_core.engine.worker": "worker",
    "backprop_core.services.scheduling": "scheduler",
    "follower": "follower",
    "submitter": "submitter",
}


class Zygote:
    """The test's end of the socket; any process may ask through a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        root = Path(__file__).parents[3]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.chaos.zygote", str(self._path)],
            env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        deadline = time.monotonic() + 20
        while not self._path.exists():
            assert self._process.poll() is None and time.monotonic() < deadline, "the zygote did not start"
            time.sleep(0.02)

    def close(self) -> None:
        """End it and everything that it forked."""
        with contextlib.suppress(OSError):
            self.ask({"end": True})
        assert self._process is not None
        self._process.wait(10)

    def living(self) -> dict[int, list[str]]:
        """Return the processes that live, with their arguments."""
        return {int(pid): arguments for pid, arguments in self.ask({"living": True}).items()}

    def ask(self, request: Mapping[str, Any], output: int | None = None) -> Any:
        """Send one request and return the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._path))
            line = json.dumps(request).encode() + b"\n"
            if output is None:
                connection.sendall(line)
            else:
                socket.send_fds(connection, [line], [output])
            with connection.makefile("rb") as stream:
                return json.loads(stream.readline())

    def spawn_detached(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: IO[bytes]
    ) -> ForkedProcess:
        """Do what `platform.spawn_detached` does, by a fork."""
        words = list(arguments)
        kind = _MODULES[words[words.index("-m") + 1]]
        request = {"fork": [kind, *words[words.index("-m") + 2 :]], "cwd": str(cwd), "env": dict(env)}
        return ForkedProcess(self, self.ask(request, output.fileno()))


class ForkedProcess:
    """What the launcher uses of `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self.pid = pid

    def poll(self) -> int | None:
        """Return how it ended, None while it lives."""
        code: int | None = self._zygote.ask({"poll": self.pid})
        return code


def _serve(path: str) -> None:
    from backprop_core.jobs import follower, scheduler
    from tests.support import stores  # noqa: F401 - imported before any fork
    from tests.support.chaos import recipe

    recipe.prepare()
    scheduler._ADOPTED_START_S = 0.5  # type: ignore[misc]
    scheduler._POLL_S = 0.01  # type: ignore[misc]
    follower._INDEX_EVERY_S = 0.05  # type: ignore[misc]
    gc.freeze()
    living: dict[int, list[str]] = {}
    codes: dict[int, int] = {}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    while True:
        connection, _ = listener.accept()
        with connection:
            line, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
            while not line.endswith(b"\n") and (more := connection.recv(1 << 16)):
                line += more
            if not line.endswith(b"\n"):
                # Whoever asked was killed in the middle of its sentence.
                for fd in fds:
                    os.close(fd)
                continue
            request = json.loads(line)
            _reap(living, codes)
            answer: Any = None
            if "fork" in request:
                answer = _fork(request, fds[0], [listener, connection])
                living[answer] = request["fork"]
            elif "poll" in request:
                answer = codes.get(request["poll"])
            elif "living" in request:
                answer = living
            for fd in fds:
                os.close(fd)
            # Whoever asked may have been killed meanwhile; what it asked for is done all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(json.dumps(answer).encode() + b"\n")
        if "end" in request:
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return


def _reap(living: dict[int, list[str]], codes: dict[int, int]) -> None:
    for pid in list(living):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            codes[pid] = os.waitstatus_to_exitcode(status)
            del living[pid]


def _fork(request: dict[str, Any], output: int, sockets: list[socket.socket]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        for end in sockets:
            end.close()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = _be(request["fork"], Path(sys.argv[1]))
    except BaseException:  # noqa: BLE001 - the log tells what a forked process met
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _be(what: list[str], path: Path) -> int:
    from backprop_core import platform
    from tests.support.chaos import recipe

    platform.spawn_detached = Zygote(path).spawn_detached  # type: ignore[assignment]
    if what[0] == "worker":
        return recipe.run_worker(what[1])
    if what[0] == "scheduler":
        from backprop_core.services import scheduling

        scheduling.main()
        return 0
    if what[0] == "submitter":
        return _submit(json.loads(what[1]))
    import asyncio

    from backprop_core.jobs.follower import Follower
    from backprop_core.jobs.launcher import ProcessLauncher
    from backprop_core.workspace import Workspace

    asyncio.run(Follower(Workspace.open(ProcessLauncher())).run())
    return 0


def _submit(wanted: list[dict[str, Any]]) -> int:
    """Put runs into the queue as a command does, and be gone."""
    from backprop_core.jobs.launcher import ProcessLauncher
    from backprop_core.workspace import Workspace
    from tests.support.stores import submit_run

    ws = Workspace.open(ProcessLauncher())
    for options in wanted:
        submit_run(ws, **options)
    ws.close()
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1])
