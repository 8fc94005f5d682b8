"""A hub on a local port: enough of its HTTP for huggingface_hub to list and fetch models.

Speaks `/api/models/ID/revision/REV`, `/api/models/ID/tree/REV` and `/ID/resolve/REV/FILE` with HEAD, ETag
and Content-Length, and refuses as the real one does (401 with X-Error-Code, 404).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeRepository:
    """One model of the fake hub."""

    files: dict[str, bytes]
    licence: str = "apache-2.0"
    gated: str | bool = False
    private: bool = False
    token: str = "hf_goodtoken123"
    granted: bool = True


@dataclass
class FakeHub:
    """The hub's models, faults and memory of what was asked.

    Attributes:
        cut_after: bytes after which the connection breaks, by file.
        held: files of which half is sent until the event is set.
    """

    repositories: dict[str, FakeRepository] = field(default_factory=dict)
    status: int | None = None
    cut_after: dict[str, int] = field(default_factory=dict)
    held: dict[str, threading.Event] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""

    def fetched(self) -> list[str]:
        """Return the names of the files whose bytes were asked for, in order."""
        return [
            path.rsplit("/", 1)[1]
            for method, path, _ in self.requests
            if method == "GET" and "/resolve/" in path
        ]


@contextlib.contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve `hub` on a free loopback port while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Authorization")))
            if hub.status is not None:
                self._send(hub.status, b"{}")
                return
            parts = path.strip("/").split("/")
            is_api = parts[:2] in (["api", "models"], ["api", "datasets"])
            if parts[0] == "datasets":
                parts = parts[1:]
            owner_and_name, rest = (
                ("/".join(parts[2:4]), parts[4:]) if is_api else ("/".join(parts[:2]), parts[2:])
            )
            repository = hub.repositories.get(owner_and_name)
            refusal = self._refusal(repository, is_api=is_api)
            if refusal is not None:
                self._send(refusal[0], b'{"error":"refused"}', {"X-Error-Code": refusal[1]})
            elif is_api and rest[:1] in ([], ["revision"]):
                self._send(200, json.dumps(_info(owner_and_name, repository)).encode())
            elif is_api and rest[:1] == ["tree"]:
                self._send(200, json.dumps(_tree(repository)).encode())
            else:
                self._file(repository, "/".join(rest[2:]), with_body=with_body)

        def _refusal(self, repository: FakeRepository | None, *, is_api: bool) -> tuple[int, str] | None:
            sent = self.headers.get("Authorization")
            if repository is None:
                return (404 if sent else 401), "RepoNotFound"
            is_known = sent == f"Bearer {repository.token}"
            if repository.private and not is_known:
                return 401, "RepoNotFound"
            if repository.gated and not is_api and not (is_known and repository.granted):
                return (403 if is_known else 401), "GatedRepo"
            return None

        def _file(self, repository: FakeRepository, name: str, *, with_body: bool) -> None:
            data = repository.files.get(name)
            if data is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            start = 0
            asked = self.headers.get("Range", "")
            if asked.startswith("bytes="):
                start = int(asked.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            body = data[start:]
            cut = hub.cut_after.get(name)
            released = hub.held.get(name)
            self._send(
                206 if start else 200, body, headers, body_bytes=cut, released=released, with_body=with_body
            )

        def _send(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            *,
            body_bytes: int | None = None,
            released: threading.Event | None = None,
            with_body: bool = True,
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body and self.command == "GET":
                if released is not None:
                    self.wfile.write(body[: len(body) // 2])
                    released.wait(60)
                    body = body[len(body) // 2 :]
                self.wfile.write(body[:body_bytes])
                self.close_connection = body_bytes is not None

    return Handler


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _info(name: str, repository: FakeRepository) -> dict[str, object]:
    siblings = [
        {"rfilename": path, "size": len(data), "blobId": _etag(data)}
        for path, data in repository.files.items()
    ]
    return {
        "id": name,
        "modelId": name,
        "sha": COMMIT,
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "cardData": {"license": repository.licence},
    }


def _tree(repository: FakeRepository) -> list[dict[str, object]]:
    return [
        {"type": "file", "path": path, "size": len(data), "oid": _etag(data)}
        for path, data in repository.files.items()
    ]
