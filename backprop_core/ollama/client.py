"""Ollama's HTTP API, as far as shipping a model needs it.

Every failure becomes DEP_OLLAMA_REGISTRATION_FAILED with its cause: nobody listens, no answer in time,
a refusal, a connection that breaks off, an error inside a stream that began well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import orjson

from backprop_core.errors import DependencyError, RunError
from backprop_core.ollama.hosts import ollama_url
from backprop_core.redact import redact

Progress = Callable[[int, int, str], None]
ShouldCancel = Callable[[], bool]

_CHUNK_BYTES: Final = 1 << 20
_CAUSE_LENGTH_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect_s: for a connection.
        answer_s: for the next byte of a plain answer or for the server to take the next upload chunk.
        work_s: for the next byte while the server reads a model file or loads it.
    """

    connect_s: float = 3
    answer_s: float = 30
    work_s: float = 600


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """One model that Ollama holds."""

    name: str
    size_bytes: int
    digest: str
    modified_at: str


class OllamaClient:
    """A connection to one Ollama server.

    Args:
        url: its address; from OLLAMA_HOST, else this machine.
        transport: replaces the network in tests.
        timeouts: how long to wait.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.url = url or ollama_url()
        self._timeouts = timeouts or Timeouts()
        waits = httpx.Timeout(self._timeouts.answer_s, connect=self._timeouts.connect_s)
        # Proxies of the environment and redirects would carry a model file elsewhere.
        self._http = httpx.Client(
            base_url=self.url, transport=transport, timeout=waits, trust_env=False, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def version(self) -> str:
        """Return the server's version, for example `0.30.1`."""
        return str(self._json("GET", "/api/version").get("version", ""))

    def list_models(self) -> list[OllamaModel]:
        """Return the models that the server holds."""
        entries = self._json("GET", "/api/tags").get("models") or []
        return [
            OllamaModel(
                str(entry.get("name", "")),
                int(entry.get("size") or 0),
                str(entry.get("digest", "")),
                str(entry.get("modified_at", "")),
            )
            for entry in entries
            if isinstance(entry, dict)
        ]

    def show(self, name: str) -> Mapping[str, Any]:
        """Return what the server knows of a model: template, parameters, system prompt, details."""
        return self._json("POST", "/api/show", {"model": name})

    def remove(self, name: str) -> None:
        """Remove a model."""
        self._json("DELETE", "/api/delete", {"model": name})

    def has_blob(self, digest: str) -> bool:
        """Return whether the server holds a file already."""
        with self._failures_named():
            answer = self._http.head(f"/api/blobs/sha256:{digest}")
        if answer.status_code not in (200, 404):
            raise self._refused(answer)
        return answer.status_code == 200

    def upload_blob(
        self,
        path: Path,
        digest: str,
        *,
        progress: Progress | None = None,
        should_cancel: ShouldCancel | None = None,
    ) -> None:
        """Send a file; the server checks that it has the digest.

        Raises:
            DependencyError: DEP_OLLAMA_REGISTRATION_FAILED.
            RunError: RUNTIME_EXPORT_CANCELLED.
        """
        size_bytes = path.stat().st_size
        with self._failures_named():
            answer = self._http.post(
                f"/api/blobs/sha256:{digest}",
                content=_chunks(path, size_bytes, progress, should_cancel),
                headers={"Content-Length": str(size_bytes)},
                timeout=self._patient(),
            )
        if not answer.is_success:
            raise self._refused(answer)

    def create(self, request: Mapping[str, Any], on_status: Callable[[str], None] | None = None) -> None:
        """Make a model out of uploaded files.

        Args:
            request: the body of `/api/create`.
            on_status: receives each status line of the server.
        """
        status = ""
        for line in self._lines("/api/create", request):
            status = str(line.get("status", ""))
            if on_status is not None:
                on_status(status)
        if status != "success":
            raise self.failed("it broke off before the model was made")

    def chat(self, name: str, messages: Sequence[Mapping[str, str]], *, tokens_max: int) -> str:
        """Return a model's reply of at most `tokens_max` tokens."""
        body = {
            "model": name,
            "messages": list(messages),
            "stream": False,
            "options": {"num_predict": tokens_max, "temperature": 0},
        }
        message = self._json("POST", "/api/chat", body, patient=True).get("message")
        return str(message.get("content", "")) if isinstance(message, dict) else ""

    def failed(self, cause: str) -> DependencyError:
        """Return the error of this server with a cause, for the caller to raise."""
        return DependencyError(
            "DEP_OLLAMA_REGISTRATION_FAILED", f"Ollama at {self.url}: {redact(cause)[:_CAUSE_LENGTH_MAX]}."
        )

    def _patient(self) -> httpx.Timeout:
        waits = self._timeouts
        return httpx.Timeout(waits.work_s, connect=waits.connect_s, write=waits.answer_s)

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, patient: bool = False
    ) -> dict[str, Any]:
        timeout = self._patient() if patient else httpx.USE_CLIENT_DEFAULT
        with self._failures_named():
            answer = self._http.request(method, path, json=body, timeout=timeout)
        if not answer.is_success:
            raise self._refused(answer)
        return self._parsed(answer.content) if answer.content else {}

    def _lines(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the objects of a streamed answer; an error among them is raised."""
        with (
            self._failures_named(),
            self._http.stream("POST", path, json=dict(body), timeout=self._patient()) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise self._refused(answer)
            for line in answer.iter_lines():
                if not line.strip():
                    continue
                value = self._parsed(line.encode())
                if "error" in value:
                    raise self.failed(f"it refused: {value['error']}")
                yield value

    def _parsed(self, raw: bytes) -> dict[str, Any]:
        try:
            value = orjson.loads(raw)
        except ValueError as error:
            raise self.failed("its answer is not JSON; another program may listen there") from error
        if not isinstance(value, dict):
            raise self.failed("its answer is no JSON object; another program may listen there")
        return value

    def _refused(self, answer: httpx.Response) -> DependencyError:
        text = answer.text.strip()
        try:
            value = orjson.loads(text)
        except ValueError:
            value = None
        reason = value.get("error") if isinstance(value, dict) else None
        return self.failed(f"it answered {answer.status_code}: {reason or text or answer.reason_phrase}")

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise self.failed("nobody listens there; start Ollama first") from error
        except httpx.TimeoutException as error:
            raise self.failed("it did not answer in time") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self.failed(f"the connection broke off ({error})") from error


def _chunks(
    path: Path, size_bytes: int, progress: Progress | None, should_cancel: ShouldCancel | None
) -> Iterator[bytes]:
    done = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if should_cancel is not None and should_cancel():
                raise RunError("RUNTIME_EXPORT_CANCELLED", "The upload to Ollama was cancelled.")
            yield chunk
            done += len(chunk)
            if progress is not None:
                progress(done, size_bytes, "uploading")
