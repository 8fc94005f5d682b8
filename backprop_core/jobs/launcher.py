"""Starts workers and the scheduler as processes of their own.

Each gets its own session, no input, output into a file, and only the environment it needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

from backprop_core import platform
from backprop_core.errors import StateError
from backprop_core.runs.store import RunFolder

_WORKER_MODULE: Final = "backprop_core.engine.worker"
_SCHEDULER_MODULE: Final = "backprop_core.services.scheduling"

_ALLOWED: Final = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "TEMP",
        "TMP",
        "SHELL",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "all_proxy",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "SYSTEMROOT",
        "SYSTEMDRIVE",
        "WINDIR",
        "USERPROFILE",
        "APPDATA",
        "LOCALAPPDATA",
        "PROGRAMDATA",
        "COMSPEC",
        "PATHEXT",
        "OLLAMA_HOST",
    ]
)
_ALLOWED_PREFIXES: Final = (
    "LC_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "PYTORCH_",
    "TORCH_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "HF_HOME",
    "HF_HUB_",
    "HF_ENDPOINT",
    "PIP_",
    "UV_",
    "BACKPROPAGATE_",
)
_SECRET_WORDS: Final = ("TOKEN", "PASSWORD", "SECRET", "API_KEY", "AUTH", "WEBHOOK")


def worker_environment(environ: Mapping[str, str], *, needs_hub_token: bool = False) -> dict[str, str]:
    """Return the environment of a worker: what it needs, no secret that it does not.

    Args:
        needs_hub_token: whether the job loads a model from the hub, which may be gated.
    """
    kept = {
        key: value
        for key, value in environ.items()
        if (key in _ALLOWED or key.startswith(_ALLOWED_PREFIXES))
        and not any(word in key.upper() for word in _SECRET_WORDS)
    }
    if needs_hub_token and "HF_TOKEN" in environ:
        kept["HF_TOKEN"] = environ["HF_TOKEN"]
    kept |= {
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # glibc returns and fetches the large buffers of each step from the system otherwise, which
        # costs about a tenth of a step on a CPU (docs/concepts/training.md).
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "MALLOC_TOP_PAD_": "536870912",
    }
    return kept


class ProcessLauncher:
    """Starts real processes; keeps those it started so that their exit codes can be read."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def spawn_worker(self, run_dir: Path, launch_id: str, home: Path) -> int:
        """Start the worker of the run in `run_dir`; its output goes to `worker.log` there."""
        folder = RunFolder(run_dir)
        env = worker_environment(self._environ, needs_hub_token=_loads_from_hub(folder))
        env |= {"BACKPROPAGATE_HOME": str(home), "BACKPROPAGATE_LAUNCH_ID": launch_id}
        with _appended(folder.log_path) as log:
            process = platform.spawn_detached(
                [sys.executable, "-P", "-m", _WORKER_MODULE, str(run_dir)], cwd=run_dir, env=env, output=log
            )
        self._started[process.pid] = process
        return process.pid

    def spawn_scheduler(self, home: Path) -> None:
        """Start the scheduler of `home`; it ends at once when another one holds its lock."""
        env = {
            key: value for key, value in self._environ.items() if not key.startswith("BACKPROPAGATE_UI__AUTH")
        }
        env |= {"BACKPROPAGATE_HOME": str(home)}
        with _appended(home / "logs" / "scheduler.log") as log:
            process = platform.spawn_detached(
                [sys.executable, "-P", "-m", _SCHEDULER_MODULE], cwd=home, env=env, output=log
            )
        self._started[process.pid] = process

    def exit_code(self, pid: int) -> int | None:
        """Return how a process that was started here ended, and reap it."""
        process = self._started.get(pid)
        return None if process is None else process.poll()

    def reap(self) -> None:
        """Collect every ended child; their exit codes are forgotten."""
        for pid in [pid for pid, process in self._started.items() if process.poll() is not None]:
            del self._started[pid]


def _appended(path: Path) -> IO[bytes]:
    """Open a log for appending; a link in its place, or a second name of another file, is refused."""
    return os.fdopen(platform.open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab")


def _loads_from_hub(folder: RunFolder) -> bool:
    try:
        if folder.info().kind == "download":
            return True
        model = folder.spec().model
    except StateError:
        return False
    return "/" in model and not Path(model).expanduser().exists()
