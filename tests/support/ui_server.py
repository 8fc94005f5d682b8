"""The real launcher as a process, for tests and for the pictures of the documentation."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from backprop_core.errors import BackpropagateError
from backprop_core.services import runs
from backprop_core.services.opening import open_workspace

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class UiServer:
    """`backprop ui` on a home of its own. The same port is taken again after a restart."""

    def __init__(
        self,
        home: Path,
        *,
        data_dir: Path | None = None,
        models: Path | None = None,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Lay out the home.

        Args:
            home: of the app.
            data_dir: a folder that the page may read data from.
            models: a folder of base models that becomes the cache of the home.
            arguments: further ones of `backprop ui`.
            environ: further variables.
        """
        self.home = home
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.log = home / "ui.log"
        self._data_dir = data_dir
        self._arguments = list(arguments)
        self._environ = dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        (home / "cache").mkdir(parents=True, exist_ok=True)
        if models is not None:
            (home / "cache" / "models").symlink_to(models, target_is_directory=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the app and of commands beside it: its home, no Node, no hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKPROPAGATE_")}
        return kept | {
            "BACKPROPAGATE_HOME": str(self.home),
            "PATH": str(self.home / "no-programs"),
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **self._environ,
        }

    @property
    def pid(self) -> int:
        """The process id of the app."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> UiServer:
        """Start the app and wait until it answers."""
        command = [sys.executable, "-m", "backpropagate", "ui", "--port", str(self.port), "--no-open"]
        if self._data_dir is not None:
            command += ["--data-dir", str(self._data_dir)]
        command += self._arguments
        output: IO[bytes]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + READY_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the app did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        return self

    def answers(self) -> bool:
        """Tell whether the app serves."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.read() == b"ok")
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """End the app as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def end_runs(self) -> None:
        """End every run of this home at once: runs outlive the app, which is the product's promise."""
        ws = open_workspace(environ=self.environment)
        try:
            # Newest first, so that nothing waits when the card becomes free.
            while working := runs.list_runs(ws, statuses=("queued", "starting", "running", "paused")):
                for state in working:
                    with contextlib.suppress(BackpropagateError):
                        runs.kill(ws, state.run_id)
                time.sleep(0.2)
        finally:
            ws.close()

    def stop(self) -> int:
        """End the app as Ctrl-C does and return its exit code; harmless when it has ended."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode
