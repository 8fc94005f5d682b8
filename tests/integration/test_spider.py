"""Every handler and route with path-like arguments, against a real server: nothing is read or written outside.

Around the app lies a tree of canaries: files whose content must never come back, folders where nothing may
appear, and a server of our own that nobody may ask.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.support.app_table import AppTable, read_table
from tests.support.reflex_socket import ReflexSocket
from tests.support.ui_server import ROOT, UiServer

SECRET = "canary-7f3a91"
WRITTEN = "spider-7f3a91"
NAMES = [
    "../../x.jsonl", "a\\..\\b.jsonl", "/abs.jsonl", "C:x.jsonl", "\\\\host\\share.jsonl", "con.jsonl",
    "x.jsonl.", "x.jsonl ", "x:ads.jsonl", "a\u202eb.jsonl", "-rf.jsonl", "~.jsonl", "x" * 290 + ".jsonl",
]  # fmt: skip


class Canaries:
    """The tree around the app and the server that must stay unasked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "outside"
        for name in ("a", "a/b"):
            (self.tree / name).mkdir(parents=True)
            (self.tree / name / "rows.jsonl").write_text(f'{{"text": "{SECRET}"}}\n')
        (self.tree / "adapter_config.json").write_text(f'{{"{SECRET}": 1}}')
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.asked += 1
            connection.close()

    def close(self) -> None:
        self._listener.close()

    def state(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.tree.rglob("*") if path.is_file()}

    def hostile(self) -> list[str]:
        target = self.tree / "a" / "rows.jsonl"
        return [
            str(target),
            f"../../../outside/a/{target.name}",
            f"file://{target}",
            str(self.tree),
            str(self.tree / f"{WRITTEN}.jsonl"),
            f"../../{WRITTEN}",
            "~/" + WRITTEN,
            f"http://127.0.0.1:{self.port}/{WRITTEN}",
        ]


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.mark), "w"))


@pytest.fixture(scope="module")
def table() -> AppTable:
    command = [sys.executable, "-m", "backprop_app.build"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_table()


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canaries]:
    found = Canaries(tmp_path_factory.mktemp("spider"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def app(table: AppTable, canaries: Canaries) -> Iterator[UiServer]:
    server = UiServer(canaries.folder / "app", environ={"HOME": str(canaries.folder / "own")})
    (canaries.folder / "own").mkdir()
    payload = pickle.dumps(Planted(canaries.folder / "unpickled"))
    for place in (server.home, server.home / "ui", canaries.folder / "own"):
        (place / ".states").mkdir(parents=True)
        for name in ("token.pkl", "x_reflex___state____state.pkl"):
            (place / ".states" / name).write_bytes(payload)
    server.start()
    yield server
    server.end_runs()
    server.stop()


def written_outside(app: UiServer, canaries: Canaries) -> list[str]:
    """Return everything that carries the name of a write and does not lie in the app's folder."""
    places = [canaries.folder, Path.home(), Path.cwd(), Path(app.home).parent, Path("/tmp")]
    found = {str(path) for place in places for path in place.glob(f"*{WRITTEN}*")}
    found |= {str(path) for path in canaries.folder.rglob(f"*{WRITTEN}*")}
    return [path for path in found if not path.startswith(str(app.home / "ui-outputs"))]


async def call_all(app: UiServer, calls: list[tuple[str, dict[str, object]]], pages: list[str]) -> str:
    heard = []
    page = await ReflexSocket.open(app.port)
    for name, payload in calls:
        await page.call(name, payload, wait_s=0.02)
    for address in pages:
        await page.call(name_of_load(calls), {}, wait_s=0.02, address=address)
    await page.read(1.0)
    heard.append(str(page.updates))
    await page.close()
    return "".join(heard)


def name_of_load(calls: list[tuple[str, dict[str, object]]]) -> str:
    return next(name for name, _ in calls if "dataset" in name)


def fitting(kind: str, value: str) -> object:
    kind = kind.strip("'\"")
    if kind == "str":
        return value
    if kind.startswith("dict"):
        return dict.fromkeys(
            ("path", "name", "model", "dataset", "output_dir", "output", "folder", "url"), value
        )
    return {"int": 0, "float": 0.5, "bool": False}.get(kind, {})


def test_no_handler_or_route_reads_or_writes_outside(app, canaries, table):
    before = canaries.state()
    calls: list[tuple[str, dict[str, object]]] = []
    for name, arguments in table.handlers.items():
        texts = [key for key, kind in arguments.items() if kind.strip("'\"").startswith(("str", "dict"))]
        if "backprop_app" in name and texts:
            for value in canaries.hostile():
                calls.append((name, {key: fitting(kind, value) for key, kind in arguments.items()}))
    assert len(calls) > 100
    pages = [f"/dataset?path={quote(value)}" for value in canaries.hostile()]
    heard = asyncio.run(call_all(app, calls, pages))
    answers = []
    with httpx.Client(base_url=app.url, trust_env=False, headers={"origin": app.url}, timeout=20) as client:
        for method, path in table.routes:
            for value in canaries.hostile():
                filled = path.replace("/x", f"/{quote(value, safe='')}")
                query = dict.fromkeys(("path", "run", "name", "file", "search"), value)
                answers.append(client.request(method, filled, params=query))
    assert SECRET not in heard
    assert [answer.url for answer in answers if SECRET in answer.text] == []
    assert [answer.url for answer in answers if answer.status_code >= 500] == []
    assert canaries.state() == before
    assert written_outside(app, canaries) == []
    assert app.answers()


def test_an_address_in_any_field_is_not_asked(app, canaries, table):
    targets = [f"http://127.0.0.1:{canaries.port}/", f"127.0.0.1:{canaries.port}", "http://169.254.169.254/"]
    calls: list[tuple[str, dict[str, object]]] = [
        (name, {key: fitting(kind, value) for key, kind in arguments.items()})
        for name, arguments in table.handlers.items()
        for value in targets
        if "backprop_app" in name and arguments
    ]
    asyncio.run(call_all(app, calls, []))
    assert canaries.asked == 0


def test_an_upload_under_any_name_stays_in_its_folder(app, canaries):
    with httpx.Client(base_url=app.url, trust_env=False, headers={"origin": app.url}) as client:
        answers = [
            client.post("/api/uploads", params={"name": name}, content=b'{"text": "x"}') for name in NAMES
        ]
    assert {answer.status_code for answer in answers} <= {200, 400, 422}
    stored = sorted(path.name for path in (app.home / "ui-outputs" / "datasets").iterdir())
    assert len(stored) >= sum(answer.status_code == 200 for answer in answers)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        for name in stored
    )
    assert not any(name.startswith((".", "-")) for name in stored)
    elsewhere = [path for path in canaries.folder.rglob("*.jsonl") if "outside" not in path.parts]
    assert {path.parent for path in elsewhere} <= {app.home / "ui-outputs" / "datasets"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.7z"])
def test_an_archive_is_no_upload(app, name):
    answer = httpx.post(
        f"{app.url}/api/uploads",
        params={"name": name},
        content=b"PK",
        headers={"origin": app.url},
        trust_env=False,
    )
    if answer.status_code == 200:
        # A name that ends in .gz is read as compressed rows, never unpacked into files.
        assert name == "a.tar.gz"
    else:
        assert answer.json()["error"]["code"] == "INPUT_DATASET_FORMAT_UNSUPPORTED"


def test_planted_state_files_are_never_read(app, canaries):
    async def visit() -> None:
        page = await ReflexSocket.open(app.port)
        await page.call("reflex___state____state.hydrate", {}, wait_s=0.5)
        await page.close()

    asyncio.run(visit())
    assert not (canaries.folder / "unpickled").exists()


def test_a_root_that_cannot_be_written_is_told_at_the_start(tmp_path, table):
    (tmp_path / "file").write_text("")
    env = {
        **os.environ,
        "BACKPROPAGATE_HOME": str(tmp_path / "home"),
        "BACKPROPAGATE_UI__OUTPUT_DIR": str(tmp_path / "file"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "backpropagate", "ui", "--no-open"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "[SANDBOX_NOT_WRITABLE]" in done.stderr
