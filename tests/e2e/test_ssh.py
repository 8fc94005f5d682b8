"""`ssh -L 9000:localhost:7860` through a real SSH server gives a working page on another port."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.sshd import forwarded
from tests.support.ui_server import UiServer


def test_a_forwarded_port_gives_page_websocket_and_upload(
    app: UiServer, browser: Browser, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    rows = tmp_path / "forwarded.jsonl"
    rows.write_text('{"prompt": "How far?", "completion": "Through the tunnel."}\n' * 3)
    with forwarded(keys, app.port) as port:
        assert port != app.port
        page = browser.new_page(base_url=f"http://localhost:{port}")
        complaints: list[str] = []
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.goto("/")
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible(timeout=20_000)
        page.get_by_role("button", name="Use my own data").click()
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Upload a file").click()
        chooser.value.set_files(rows)
        expect(page.get_by_role("button", name="Data:")).to_contain_text("forwarded")
        page.reload()
        expect(page.get_by_role("status").filter(has_text="Live")).to_be_visible()
        page.close()
    stored = list((app.home / "ui-outputs" / "datasets").iterdir())
    assert [path.read_bytes() for path in stored] == [rows.read_bytes()]
    assert complaints == []
