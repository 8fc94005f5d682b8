"""Every handler and every route called with what no page would send; read from the app, so new ones are covered."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.test_exposure import state_of
from tests.support.app_table import AppTable, read_table
from tests.support.reflex_socket import ReflexSocket
from tests.support.ui_server import ROOT, UiServer

NOT_UNDERSTOOD = "INPUT_VALIDATION_FAILED"
DEFECT = "The app met a defect"
CLOSE_TOAST = "reflex___state____state.backprop_app___states___shell____shell_state.close_toast"

# No declared type takes any of these.
IMPOSSIBLE: list[Any] = [
    None,
    [[None]],
    {"a": [1]},
    "x" * 150_000,
    "\x00",
    10**40,
    float("nan"),
    float("-inf"),
]
# Of the right type, and still nothing a page would send.
HOSTILE: dict[str, list[Any]] = {
    "str": [
        "",
        "../../etc/passwd",
        "<img src=x onerror=alert(1)>",
        "\x1b[31m",
        "{{7*7}}",
        "-1",
        "\u202e",
        "x" * 90_000,
    ],
    "int": [-1, 0, 10**9],
    "float": [-1e9, 0.0, 1e9],
    "bool": [True, False],
    "dict[str, str]": [{}, {"": ""}, {"path": "../x", "more": "y"}],
}
# Called without arguments these do what they say: they put a job into the queue.
STARTS = (".start", ".repeat")


@pytest.fixture(scope="module")
def table() -> AppTable:
    done = subprocess.run(
        [sys.executable, "-m", "backprop_app.build"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return read_table()


@pytest.fixture(scope="module")
def app(table: AppTable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UiServer]:
    server = UiServer(tmp_path_factory.mktemp("fuzz") / "app").start()
    yield server
    server.stop()


class Caller:
    """Calls handlers one by one and tells what the page was told."""

    def __init__(self, page: ReflexSocket) -> None:
        self._page = page

    async def ask(self, handler: str, payload: Any, *, wait_s: float) -> str:
        """Return everything that was sent back within `wait_s`, at once when it is a refusal."""
        await self._page.call(CLOSE_TOAST, {}, wait_s=0.01)
        self._page.updates.clear()
        deadline = time.monotonic() + wait_s
        await self._page.call(handler, payload, wait_s=0.01)
        while time.monotonic() < deadline:
            told = str(self._page.updates)
            if NOT_UNDERSTOOD in told or DEFECT in told:
                return told
            await self._page.read(0.01)
        return str(self._page.updates)


def ours(table: AppTable) -> dict[str, dict[str, str]]:
    found = {name: arguments for name, arguments in table.handlers.items() if "backprop_app" in name}
    assert len(found) > 40
    return found


def kind_of(annotation: str) -> str:
    return annotation.strip("'\"")


def good(annotation: str) -> Any:
    return {"str": "x", "int": 0, "float": 0.5, "bool": False}.get(kind_of(annotation), {})


def wrong_calls(arguments: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield payloads that do not fit the signature."""
    fitting = {name: good(annotation) for name, annotation in arguments.items()}
    yield {**fitting, "no_such_argument": 1}
    for name in arguments:
        yield {key: value for key, value in fitting.items() if key != name}
        for value in IMPOSSIBLE:
            yield {**fitting, name: value}


def run_calls(app: UiServer, calls: list[tuple[str, Any]], wait_s: float) -> dict[str, str]:
    async def run() -> dict[str, str]:
        page = await ReflexSocket.open(app.port)
        caller = Caller(page)
        told = {
            f"{name} {str(payload)[:80]}": await caller.ask(name, payload, wait_s=wait_s)
            for name, payload in calls
        }
        await page.close()
        return told

    return asyncio.run(run())


def test_a_call_that_does_not_fit_is_answered_with_the_code_and_changes_nothing(app, table):
    before = state_of(app.home)
    calls = [(name, payload) for name, arguments in ours(table).items() for payload in wrong_calls(arguments)]
    assert len(calls) > 150
    told = run_calls(app, calls, wait_s=2.0)
    assert [call for call, text in told.items() if NOT_UNDERSTOOD not in text] == []
    assert [call for call, text in told.items() if DEFECT in text] == []
    assert state_of(app.home) == before
    assert app.answers()


def test_a_call_that_fits_and_means_harm_meets_no_defect(app, table):
    calls: list[tuple[str, Any]] = []
    for name, arguments in ours(table).items():
        if not arguments and not name.endswith(STARTS):
            calls.append((name, {}))
        for argument, annotation in arguments.items():
            fitting = {key: good(kind) for key, kind in arguments.items()}
            calls += [(name, {**fitting, argument: value}) for value in HOSTILE.get(kind_of(annotation), [])]
    told = run_calls(app, calls, wait_s=0.08)
    assert {call: text for call, text in told.items() if DEFECT in text} == {}
    assert httpx.get(f"{app.url}/api/runs").json()["total"] == 0
    assert app.answers()


def test_a_handler_of_reflex_itself_called_with_junk_hurts_nobody(app, table):
    others = {name: arguments for name, arguments in table.handlers.items() if "backprop_app" not in name}
    calls = [(name, payload) for name, arguments in others.items() for payload in wrong_calls(arguments)]
    run_calls(app, [*calls, ("no.such.handler", {}), ("", {}), (7, [])], wait_s=0.03)
    assert app.answers()
    assert asyncio.run(still_works(app))


async def still_works(app: UiServer) -> bool:
    page = await ReflexSocket.open(app.port)
    page.updates.clear()
    await page.call(CLOSE_TOAST.replace("close_toast", "toggle_rail"), {}, wait_s=0.5)
    await page.close()
    return "rail_open" in str(page.updates)


def test_every_route_called_with_junk_answers_with_a_status_of_its_own(app, table):
    junk = [b"", b"{", b"\xff" * 1000, b"[" * 10_000, b'{"a": NaN}', os.urandom(2000)]
    queries = [
        "",
        "?limit=-1",
        "?limit=1e9",
        "?offset=NaN",
        "?status=x&status=y",
        "?search=" + "x" * 5000,
        "?%00=%ff",
        "?name=../../x",
    ]
    statuses: dict[tuple[str, str, str], int] = {}
    with httpx.Client(base_url=app.url, trust_env=False, headers={"origin": app.url}, timeout=20) as client:
        for method, path in table.routes:
            for query in queries:
                statuses[method, path, query] = client.request(method, path + query).status_code
            for number, body in enumerate(junk):
                kind = {"content-type": "application/json"}
                answer = client.request("POST", path, content=body, headers=kind)
                statuses["POST", path, str(number)] = answer.status_code
                assert "Traceback" not in answer.text
    assert {call: status for call, status in statuses.items() if status >= 500} == {}
    assert app.answers()
