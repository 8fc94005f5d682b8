"""Other sites in the same browser: what they try against the app, and that none of it works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.test_login import sign_in
from tests.integration.test_exposure import state_of
from tests.support import browser as chromium
from tests.support.app_table import read_table
from tests.support.logins import PASSWORD, USER
from tests.support.ui_server import UiServer

# Tries everything a page can try and writes down what came back; "" is nothing.
ATTACK = """<!doctype html><title>evil</title><body><script>
const target = "TARGET", socket = target.replace("http", "ws");
const text = async (promise) => { try { return await (await promise).text() } catch (error) { return "" } };
const opens = (url) => new Promise((done) => {
  const ws = new WebSocket(url);
  ws.onopen = () => done("opened"); ws.onerror = () => done("");
  setTimeout(() => done("silent"), 5000);
});
const loads = (tag, url) => new Promise((done) => {
  const element = document.createElement(tag);
  element.onload = () => done("loaded"); element.onerror = () => done("");
  element.src = url; document.body.append(element);
  setTimeout(() => done("silent"), 5000);
});
(async () => {
  const send = (path, options) => text(fetch(target + path, { credentials: "include", ...options }));
  window.results = {
    read: await send("/api/runs"),
    page: await send("/"),
    health: await send("/healthz"),
    form: await send("/api/uploads?name=a.jsonl", { method: "POST", body: "{}", headers: { "content-type": "text/plain" } }),
    encoded: await send("/_upload", { method: "POST", body: new URLSearchParams({ a: 1 }) }),
    multipart: await send("/_upload", { method: "POST", body: new FormData() }),
    blind: await send("/api/uploads?name=b.jsonl", { method: "POST", body: "{}", mode: "no-cors" }),
    logout: await send("/logout", { method: "POST", mode: "no-cors" }),
    session: await send("/session", { method: "POST", mode: "no-cors" }),
    put: await send("/api/runs", { method: "PUT", body: "{}" }),
    remove: await send("/api/runs/x", { method: "DELETE" }),
    websocket: await opens(socket + "/_event/?EIO=4&transport=websocket&token=evil"),
    script: await loads("script", target + "/api/runs"),
    image: await loads("img", target + "/favicon.svg"),
  };
})();
</script>
<form id="post" method="post" action="TARGET/api/uploads?name=c.jsonl" enctype="text/plain"><input name="a" value="b"></form>
<iframe id="frame" src="TARGET/" width="400" height="300"></iframe>
"""


class Site:
    """Another web server on this machine that serves the attack."""

    def __init__(self, target: str) -> None:
        body = ATTACK.replace("TARGET", target).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def apps(
    bundle: None, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, UiServer]]:
    folder = tmp_path_factory.mktemp("attacked")
    local = UiServer(folder / "local", models=models).start()
    guarded = UiServer(
        folder / "guarded", models=models, environ={"BACKPROPAGATE_UI__AUTH": f"{USER}:{PASSWORD}"}
    ).start()
    yield {"local": local, "guarded": guarded}
    local.stop()
    guarded.stop()


@pytest.mark.parametrize("kind", ["local", "guarded"])
def test_a_page_on_another_port_of_localhost_reads_nothing_and_changes_nothing(
    apps, browser: Browser, kind
) -> None:
    app = apps[kind]
    context = browser.new_context()
    own = context.new_page()
    own.goto(app.url)
    if kind == "guarded":
        sign_in(own)
    expect(own.get_by_role("status").filter(has_text="Live")).to_be_visible()
    before = state_of(app.home)
    site = Site(app.url)
    page = context.new_page()
    page.goto(f"http://localhost:{site.port}/")
    page.wait_for_function("() => window.results", timeout=30_000)
    results = page.evaluate("() => window.results")
    assert {name: got for name, got in results.items() if got} == {}
    frames = [frame for frame in page.frames if frame != page.main_frame]
    assert [frame.url for frame in frames] == ["chrome-error://chromewebdata/"]
    page.evaluate("() => document.getElementById('post').submit()")
    page.wait_for_url(f"{app.url}/**")
    assert "another site" in page.content()
    assert state_of(app.home) == before
    own.reload()
    expect(own.get_by_role("status").filter(has_text="Live")).to_be_visible()
    context.close()
    site.close()


def test_a_name_that_was_rebound_to_this_machine_gets_nothing(apps, browser: Browser) -> None:
    app = apps["local"]
    before = state_of(app.home)
    arguments = [*chromium.ARGUMENTS, "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    own = browser.browser_type.launch(executable_path=chromium.require(), args=arguments)
    page = own.new_page()
    answer = page.goto(f"http://evil.example:{app.port}/")
    assert answer is not None
    assert answer.status == 421
    assert "Backpropagate" not in page.content()
    code = "async (path) => (await fetch(path)).status"
    assert [page.evaluate(code, path) for path in ("/api/runs", "/theme.css", "/healthz")] == [421] * 3
    connect = (
        "() => new Promise((done) => { const ws = new WebSocket(`ws://${location.host}/_event/?EIO=4&transport="
        "websocket&token=x`); ws.onopen = () => done('opened'); ws.onerror = () => done('refused') })"
    )
    assert page.evaluate(connect) == "refused"
    own.close()
    assert state_of(app.home) == before


def test_no_page_breaks_its_content_policy(apps, watch) -> None:
    pages = sorted({path for method, path in read_table().routes if method == "GET"} - {"/404", "/index"})
    pages = [path for path in pages if not path.startswith(("/api", "/v1", "/_", "/healthz", "/ping"))]
    assert len(pages) >= 3
    tabs = watch(apps["local"])
    for path in ["/", *pages]:
        page = tabs.open(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        page.close()
