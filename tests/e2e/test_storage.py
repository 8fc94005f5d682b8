"""A data file goes into the trash on the page, comes back, and goes for good after a question."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.support.ui_server import UiServer


def test_a_file_is_deleted_restored_and_removed_for_good(app: UiServer, watch) -> None:
    folder = app.home / "ui-outputs"
    (folder / "datasets" / "talks.jsonl").write_text('{"text": "one"}\n')
    page = watch(app).open("/storage")
    page.get_by_role("button", name="Move data file talks.jsonl into the trash").click()
    page.get_by_role("button", name="Restore talks.jsonl").click()
    page.get_by_role("button", name="Move data file talks.jsonl into the trash").click()
    page.get_by_role("button", name="Remove talks.jsonl for good").click()
    page.get_by_role("button", name="Keep it").click()
    assert len(list((folder / "trash").iterdir())) == 1
    page.get_by_role("button", name="Remove talks.jsonl for good").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Remove for good").click()
    expect(page.get_by_text("The trash is empty.")).to_be_visible()
    assert list((folder / "trash").iterdir()) == []
    assert list((folder / "datasets").iterdir()) == []
    audit = (app.home / "logs" / "audit.jsonl").read_text()
    assert [audit.count(f"storage.{act}") for act in ("delete", "restore", "purge")] == [2, 1, 1]
