"""A hub on a local port: enough of its HTTP for huggingface_hub to list, fetch and push models.

Takes pushes too: `/api/repos/create`, `/preupload`, the batch of the file protocol with PUT, and `/commit`.
Speaks `/api/models/ID/revision/REV`, `/api/models/ID/tree/REV` and `/ID/resolve/REV/FILE` with HEAD, ETag
and Content-Length, and refuses as the real one does (401 with X-Error-Code, 404).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
import time
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
    uploads: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, str]] = field(default_factory=list)
    write_token: str = "hf_writetoken123"
    takes_bytes_slowly: bool = False
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

        def do_POST(self) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            hub.requests.append(("POST", path, self.headers.get("Authorization")))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = pushed(hub, path, self.headers.get("Authorization"), body)
            self._send(status, json.dumps(answer).encode())

        def do_PUT(self) -> None:
            hub.requests.append(("PUT", self.path, self.headers.get("Authorization")))
            left, parts = int(self.headers["Content-Length"]), []
            while left:
                parts.append(self.rfile.read(min(left, 1 << 16)))
                left -= len(parts[-1])
                if hub.takes_bytes_slowly:
                    time.sleep(0.05)
            hub.uploads[self.path.rpartition("/")[2]] = b"".join(parts)
            self._send(200, b"")

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
            if with_body and self.command != "HEAD":
                if released is not None:
                    self.wfile.write(body[: len(body) // 2])
                    released.wait(60)
                    body = body[len(body) // 2 :]
                self.wfile.write(body[:body_bytes])
                self.close_connection = body_bytes is not None

    return Handler


def pushed(hub: FakeHub, path: str, sent: str | None, body: bytes) -> tuple[int, object]:
    """Answer one request of a push."""
    if hub.status is not None:
        return hub.status, {"error": "refused"}
    if sent != f"Bearer {hub.write_token}":
        return 401, {"error": "Invalid credentials"}
    if path == "/api/validate-yaml":
        return 200, {"warnings": [], "errors": []}
    if path == "/api/repos/create":
        return _created(hub, json.loads(body))
    name = "/".join(path.strip("/").removeprefix("api/models/").split("/")[:2]).removesuffix(".git")
    if name not in hub.repositories:
        return 404, {"error": "Repository not found"}
    if "/preupload/" in path:
        return 200, {"files": [_mode(file["path"]) for file in json.loads(body)["files"]]}
    if path.endswith("/objects/batch"):
        return 200, {"objects": [_action(hub, item) for item in json.loads(body)["objects"]]}
    if "/commit/" in path:
        _commit(hub, name, body)
        return 200, {"commitUrl": f"{hub.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
    return 200, {}


def _created(hub: FakeHub, wanted: dict[str, str]) -> tuple[int, object]:
    name = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
    if wanted.get("organization") == "forbidden":
        return 403, {"error": "no write access"}
    if name in hub.repositories:
        return 409, {"url": f"{hub.address}/{name}"}
    hub.repositories[name] = FakeRepository(
        {},
        private=bool(wanted.get("private")) or wanted.get("visibility") == "private",
        token=hub.write_token,
    )
    return 200, {"url": f"{hub.address}/{name}"}


def _mode(path: str) -> dict[str, object]:
    is_large = path.endswith((".gguf", ".safetensors"))
    return {"path": path, "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}


def _action(hub: FakeHub, item: dict[str, object]) -> dict[str, object]:
    return {**item, "actions": {"upload": {"href": f"{hub.address}/put/{item['oid']}"}}}


def _commit(hub: FakeHub, name: str, body: bytes) -> None:
    for line in body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header":
            hub.commits.append((name, value["summary"]))
        elif entry["key"] == "lfsFile":
            hub.repositories[name].files[value["path"]] = hub.uploads[value["oid"]]
        elif entry["key"] == "file":
            hub.repositories[name].files[value["path"]] = base64.b64decode(value["content"])


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
