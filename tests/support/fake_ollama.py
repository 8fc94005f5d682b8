"""An Ollama server on a real socket that keeps the protocol, checks digests, and fails on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "hangs",
    "answers 500",
    "dies in upload",
    "corrupts the upload",
    "dies in create",
    "hangs in create",
    "refuses in the stream",
    "ends create without success",
    "refuses to chat",
    "speaks no JSON",
    "redirects",
)


@dataclass
class OllamaState:
    """What the server holds and how it misbehaves.

    Attributes:
        version: what it claims to be.
        fault: one of `FAULTS`, or empty.
        blobs: digest to content.
        models: name to the body of its create request.
        asked: method and path of every request.
        released: set when hanging handlers should end.
    """

    version: str = "0.32.1"
    fault: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def running_ollama(**state: Any) -> Iterator[OllamaState]:
    """Run a server on a free port of this machine; `state.url` is its address."""
    held = OllamaState(**state)
    handler = type("Handler", (_Handler,), {"state": held})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        held.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: OllamaState
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Serve one request; a client that hangs up ends it."""
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        state = self.state
        state.asked.append(f"{self.command} {self.path}")
        if state.fault == "hangs":
            self._hang()
        elif state.fault == "answers 500":
            self._body()
            self._json(500, {"error": "llama runner process has terminated"})
        elif state.fault == "speaks no JSON":
            self._send(200, b"<html>hello</html>", "text/html")
        elif state.fault == "redirects":
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/api/blobs/"):
            self._blob(self.path.removeprefix("/api/blobs/"))
        else:
            self._call(json.loads(self._body() or b"{}"))

    def _call(self, body: dict[str, Any]) -> None:
        state = self.state
        name = str(body.get("model", ""))
        match self.path:
            case "/api/version":
                self._json(200, {"version": state.version})
            case "/api/tags":
                models = [
                    {"name": f"{name}:latest", "size": 7, "digest": "d", "modified_at": "t"}
                    for name in state.models
                ]
                self._json(200, {"models": models})
            case "/api/create":
                self._create(body)
            case _ if name not in state.models:
                self._json(404, {"error": f"model '{name}' not found"})
            case "/api/show":
                self._json(200, {"template": state.models[name].get("template", "")})
            case "/api/chat" if state.fault == "refuses to chat":
                self._json(500, {"error": "unable to load model"})
            case "/api/chat":
                self._json(200, {"message": {"role": "assistant", "content": "Hello!"}, "done": True})
            case "/api/delete":
                del state.models[name]
                self._send(200, b"", "text/plain")

    def _blob(self, digest: str) -> None:
        state = self.state
        if self.command == "HEAD":
            self.send_response(200 if digest in state.blobs else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if state.fault == "dies in upload":
            self.rfile.read(1)
            self._die()
            return
        content = self._body()
        if state.fault == "corrupts the upload":
            content = content[:-1]
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != digest:
            self._json(400, {"error": f'digest mismatch, expected "{digest}", got "{found}"'})
            return
        state.blobs[digest] = content
        self._send(201, b"", "text/plain")

    def _create(self, body: dict[str, Any]) -> None:
        state = self.state
        files = {**body.get("files", {}), **body.get("adapters", {})}
        missing = [digest for digest in files.values() if digest not in state.blobs]
        if missing or not body.get("files"):
            self._json(400, {"error": "no files provided to convert"})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._line({"status": "parsing GGUF"})
        if state.fault == "dies in create":
            self._die()
        elif state.fault == "hangs in create":
            self._hang()
        elif state.fault == "refuses in the stream":
            self._line({"error": "unsupported architecture"})
            self._chunk(b"")
        elif state.fault == "ends create without success":
            self._chunk(b"")
        else:
            state.models[body["model"]] = body
            self._line({"status": "writing manifest"})
            self._line({"status": "success"})
            self._chunk(b"")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _line(self, value: dict[str, Any]) -> None:
        self._chunk(json.dumps(value).encode() + b"\n")

    def _chunk(self, raw: bytes) -> None:
        self.wfile.write(f"{len(raw):X}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()

    def _hang(self) -> None:
        self.state.released.wait(30)
        self.close_connection = True

    def _die(self) -> None:
        self.close_connection = True
        self.connection.close()
