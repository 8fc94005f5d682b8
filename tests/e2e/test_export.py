"""From the page a run becomes a GGUF file that a llama.cpp engine loads, and a model in Ollama."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from backprop_core.files import sha256_of
from backprop_core.gguf import check_gguf
from tests.e2e.conftest import keep_picture
from tests.support.fake_ollama import OllamaState, running_ollama
from tests.support.ui_server import ROOT, UiServer

EXAMPLE = ROOT / "examples" / "quickstart.jsonl"
END_MS = 120_000


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaState]:
    with running_ollama() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


def train(app: UiServer, folder: Path) -> None:
    """Train two steps on the command line, beside the app."""
    command = ["train", "-m", "smollm2-135m", "-d", str(EXAMPLE), "--steps", "2", "--lora-preset", "fast"]
    subprocess.run(
        [sys.executable, "-m", "backpropagate", *command],
        cwd=folder,
        env={**app.environment, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=300,
    )


def test_a_run_is_exported_registered_and_downloaded(ollama, app: UiServer, watch, tmp_path: Path) -> None:
    page = watch(app).open("/export")
    expect(page.get_by_text("Nothing to export yet")).to_be_visible()
    train(app, tmp_path)
    page.reload()
    row = page.get_by_role("row").filter(has_text="q4_k_m")
    expect(row).to_contain_text("105 MB", timeout=END_MS)
    expect(page.locator(".cli code")).to_contain_text("--format gguf --quantization q4_k_m")
    page.get_by_label("Name", exact=True).fill("my/../model")
    page.get_by_label("Register it when the file is ready").click()
    page.get_by_label("Name in Ollama").fill("my-model")
    expect(page.locator(".cli code")).to_contain_text("--ollama-name my-model")
    expect(page.get_by_text("Answers", exact=True)).to_be_visible()
    keep_picture(page, "export")
    page.get_by_role("button", name="Export q4_k_m").click()
    done = (
        page.get_by_role("table", name="Exports")
        .get_by_role("row")
        .filter(has_text="my-..-model-q4_k_m.gguf")
    )
    expect(done).to_contain_text("in Ollama as my-model", timeout=END_MS)
    expect(page.get_by_text("This file is there already.")).to_be_visible()
    expect(page.get_by_role("button", name="Export q4_k_m")).to_be_disabled()
    keep_picture(page, "export-done")

    card = page.get_by_role("region", name="Ship proof")
    expect(card.locator(".pill")).to_contain_text("Proven")
    expect(done).to_contain_text("Proven")
    with page.expect_download() as downloading:
        card.get_by_role("link", name="proof.json").click()
    assert json.loads(Path(downloading.value.path()).read_bytes())["file"] == "my-..-model-q4_k_m.gguf"
    card.get_by_role("button", name="Prove again").click()
    expect(page.locator(".panel").filter(has_text="Last proof").locator(".pill")).to_have_text(
        "Completed", timeout=END_MS
    )

    file = app.home / "ui-outputs" / "exports" / "gguf" / "my-..-model-q4_k_m.gguf"
    assert check_gguf(file).architecture == "llama"
    assert ollama.models["my-model"]["files"] == {file.name: f"sha256:{sha256_of(file)}"}
    with page.expect_download() as downloading:
        done.get_by_role("link", name="Download").click()
    assert sha256_of(Path(downloading.value.path())) == sha256_of(file)


def test_a_cancelled_export_leaves_nothing_and_says_so(ollama, app: UiServer, watch, tmp_path: Path) -> None:
    train(app, tmp_path)
    ollama.fault = "hangs"
    page = watch(app).open("/export")
    expect(page.get_by_role("button", name="Export q4_k_m")).to_be_enabled(timeout=END_MS)
    page.get_by_label("Register it when the file is ready").click()
    page.get_by_role("button", name="Export q4_k_m").click()
    page.get_by_role("button", name="Cancel", exact=True).click(timeout=END_MS)
    dialog = page.get_by_role("alertdialog")
    expect(dialog.get_by_role("button", name="Keep exporting")).to_be_focused()
    dialog.get_by_role("button", name="Cancel the export").click()
    ollama.released.set()
    expect(page.locator(".panel").filter(has_text="Last export").locator(".pill")).to_have_text(
        "Stopped", timeout=END_MS
    )
    left = [path.name for path in (app.home / "ui-outputs" / "exports").rglob("*.partial")]
    assert left == []
