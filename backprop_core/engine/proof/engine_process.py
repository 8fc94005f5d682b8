"""The parent's side of an engine in a process of its own: started, asked, ended, always within a deadline.

A file that makes the engine abort or hang costs one `EngineFailed`, never this process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx
import orjson

from backprop_core.redact import redact

_MODULE: Final = "backprop_core.engine.proof.engine_server"
_ENVIRONMENT: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
)
_POLL_S: Final = 0.05
_LOG_TAIL_BYTES: Final = 4000
_LOADED_BYTES_PER_S: Final = 50_000_000
_READ_BYTES_PER_S: Final = 20_000_000


class EngineFailed(Exception):
    """The engine did not load the file, died, refused or gave no answer in time; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class EngineSetup:
    """How the engine is run.

    Attributes:
        command: of its process; it takes the order of `engine_server` as its first line of input.
        load_s: seconds until it must answer, beyond those that the size of the file gives.
        answer_s: seconds for one answer, beyond those that the size of the file gives.
        total_s: seconds for everything together, beyond those that the size of the file gives.
    """

    command: tuple[str, ...] = (sys.executable, "-P", "-m", _MODULE)
    load_s: float = 60
    answer_s: float = 60
    total_s: float = 600


def is_installed() -> bool:
    """Return whether the engine of the `export` extra is here."""
    return importlib.util.find_spec("xllamacpp") is not None


def engine_name() -> str:
    """Return name and version of the engine; empty when it is not here."""
    try:
        return f"xllamacpp {importlib.metadata.version('xllamacpp')}"
    except importlib.metadata.PackageNotFoundError:
        return ""


class Engine:
    """An engine with one file, inside a `with` block.

    Args:
        model: the GGUF file.
        lora: the GGUF file of an adapter that is applied to it.
        context_tokens: tokens of one prompt with its answer.
        setup: process and deadlines.
        check: called while waiting; what it raises ends everything.

    Raises:
        EngineFailed: on entering, when the file is not loaded in time.
    """

    def __init__(
        self,
        model: Path,
        lora: Path | None,
        context_tokens: int,
        setup: EngineSetup,
        check: Callable[[], None],
    ) -> None:
        size_bytes = model.stat().st_size
        self._order = {"model": str(model), "lora": str(lora or ""), "context": context_tokens}
        self._setup = setup
        self._check = check
        self._load_s = setup.load_s + size_bytes / _LOADED_BYTES_PER_S
        self._answer_s = setup.answer_s + size_bytes / _READ_BYTES_PER_S
        self._ends_at = time.monotonic() + setup.total_s + 10 * size_bytes / _READ_BYTES_PER_S
        self._process: subprocess.Popen[bytes] | None = None
        self._client: httpx.Client | None = None

    def __enter__(self) -> Engine:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the engine's answer to a request.

        Raises:
            EngineFailed: it died, refused, or gave no answer in time.
        """
        self._check()
        left_s = min(self._answer_s, self._ends_at - time.monotonic())
        if left_s <= 0:
            raise EngineFailed("The engine took longer than it may for all questions together.")
        try:
            assert self._client is not None
            answer = self._client.post(path, json=dict(body), timeout=left_s)
            answer.raise_for_status()
            return answer.json()
        except httpx.TimeoutException as error:
            raise EngineFailed(f"The engine gave no answer within {left_s:.0f} seconds.") from error
        except httpx.HTTPStatusError as error:
            reason = redact(error.response.text[:200])
            raise EngineFailed(
                f"The engine refused {path} with {error.response.status_code}: {reason}"
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            self._wait_briefly()
            raise EngineFailed(self._how_it_ended() or f"The engine broke off: {error}.") from error

    def _start(self, folder: Path) -> None:
        self._log = folder / "log"
        address, key = folder / "address", secrets.token_urlsafe(24)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = str(Path(__file__).parents[3])
        with self._log.open("wb") as log:
            # The log goes to a file, which never fills up and holds the engine as a pipe would.
            self._process = subprocess.Popen(
                self._setup.command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
            )
        order = {**self._order, "threads": _threads(), "key": key, "address_file": str(address)}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(order) + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise EngineFailed(self._how_it_ended() or "The engine did not start.") from error
        self._await(address)
        self._client = httpx.Client(
            base_url=address.read_text(encoding="utf-8"),
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )

    def _await(self, address: Path) -> None:
        give_up_at = time.monotonic() + self._load_s
        while not address.exists():
            self._check()
            if ended := self._how_it_ended():
                raise EngineFailed(ended)
            if time.monotonic() > give_up_at:
                raise EngineFailed(f"The engine did not load the file within {self._load_s:.0f} seconds.")
            time.sleep(_POLL_S)

    def _wait_briefly(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            return

    def _how_it_ended(self) -> str:
        """Return how the process ended, with its last words; empty while it runs."""
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return ""
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        lines = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        told = [line.strip() for line in lines if "error" in line.lower() or "assert" in line.lower()]
        last = redact((told or lines or [""])[-1][:200])
        return f"The engine ended {how}" + (f": {last}" if last else ".")

    def _close(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except OSError:
                    # An order that a dead engine never took.
                    pass
            process.wait()
        if self._client is not None:
            self._client.close()
        self._folder.cleanup()


def _threads() -> int:
    """Return the threads of the engine: half of the processors, since waiting threads of it burn theirs."""
    return max(1, (os.cpu_count() or 2) // 2)
