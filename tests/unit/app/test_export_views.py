"""What the Export page says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backprop_app.views import export as views
from backprop_core.config.exports import ExportSpec
from backprop_core.gguf import GgufForecast
from backprop_core.runs.projection import RunState
from backprop_core.services.exports import FinishedExport
from backprop_core.services.ollama import OllamaStatus

NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
F16 = GgufForecast("f16", 15_200_000_000, 21.0, "as good as the original")
Q4 = GgufForecast("q4_k_m", 4_700_000_000, 74.0, "balanced")


def job(**changes: object) -> RunState:
    given = {
        "run_id": "7f3a91c2-0000-4000-8000-000000000000",
        "folder": "/jobs/7f3a91c2",
        "name": "support-7b-q4_k_m.gguf",
        "source": "page",
        "kind": "export",
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "dataset": "",
        "created_at": "2026-11-19T23:02:00+00:00",
        **changes,
    }
    return RunState.model_validate(given)


def finished(**changes: object) -> FinishedExport:
    spec = ExportSpec(
        format="gguf",
        source="/runs/x/adapter",
        base_model="base",
        output="/exports/gguf/m.gguf",
        name="m",
        quantization="q4_k_m",
        ollama_name="support-7b",
    )
    ended = (NOW - timedelta(hours=1)).isoformat()
    values = {"size_bytes": 4_700_000_000, "seconds": 74.0, "ended_at": ended, "is_registered": True}
    return FinishedExport("7f3a91c2", Path("/exports/gguf/m.gguf"), spec, **values | changes)


def test_a_row_tells_size_bits_and_time() -> None:
    row = views.type_items([F16, Q4], {"q4_k_m"})[1]
    assert (row.key, row.size, row.bits, row.time) == ("q4_k_m", "4.7\u00a0GB", "4.9", "1\u00a0m 14\u00a0s")
    assert row.is_made


def test_without_the_base_rows_show_dashes_never_zero() -> None:
    rows = views.unknown_types()
    assert [row.key for row in rows] == list(views.SHOWN_TYPES)
    assert {row.size for row in rows} == {"–"}


def test_a_working_job_tells_phase_and_share() -> None:
    view = views.job_view(
        job(status="running", phase="exporting", phase_done=2_350_000_000, phase_total=4_700_000_000)
    )
    assert (view.phase, view.percent, view.percent_text) == ("Writing", 50.0, "2.4\u00a0GB of 4.7\u00a0GB")
    assert view.is_open


def test_a_waiting_job_says_that_it_waits() -> None:
    assert views.job_view(job(status="queued")).phase == "Waiting for its turn"


def test_a_failed_job_shows_message_hint_and_code() -> None:
    error = {"code": "RUNTIME_DISK_FULL", "message": "m", "hint": "h", "retryable": True, "details": {}}
    view = views.job_view(job(status="failed", error=error))
    assert (view.is_bad, view.code, view.message, view.hint) == (True, "RUNTIME_DISK_FULL", "m", "h")


def test_a_registered_export_has_its_line_to_copy() -> None:
    item = views.export_item(finished(), NOW, can_download=True)
    assert item.run_line == "ollama run support-7b"
    assert item.ollama == "in Ollama as support-7b"
    assert item.href == "/api/exports/7f3a91c2/download"
    assert item.made == "today 01:00"


def test_an_export_outside_of_the_folder_of_the_app_has_no_download() -> None:
    item = views.export_item(finished(is_registered=False), NOW, can_download=False)
    assert (item.href, item.run_line, item.ollama) == ("", "", "not registered")


def test_the_server_is_described_or_its_absence_explained() -> None:
    url = "http://127.0.0.1:11434"
    assert views.ollama_view(OllamaStatus(url, "0.30.1", "")).text == f"Ollama 0.30.1 at {url}"
    assert not views.ollama_view(OllamaStatus(url, "", "Nobody listens.")).is_running


@pytest.mark.parametrize(
    ("format", "name", "ollama", "command", "python"),
    [
        (
            "gguf",
            "",
            "",
            "7f3a91c2 --format gguf --quantization q8_0",
            'export_gguf("7f3a91c2", "q8_0")',
        ),
        (
            "gguf",
            "m",
            "my-m",
            "7f3a91c2 --format gguf --quantization q8_0 --name m --ollama-name my-m",
            "export_gguf(\"7f3a91c2\", \"q8_0\", name='m', ollama_name='my-m')",
        ),
        (
            "lora",
            "a; rm -rf ~",
            "",
            "7f3a91c2 --format lora --name 'a; rm -rf ~'",
            "export_lora(\"7f3a91c2\", name='a; rm -rf ~')",
        ),
        ("merged", "", "", "7f3a91c2 --format merged", 'export_merged("7f3a91c2")'),
        ("ollama-adapter", "", "", "7f3a91c2 --format ollama-adapter --quantization q8_0", ""),
    ],
)
def test_the_twins_do_what_the_page_does(format, name, ollama, command, python) -> None:  # type: ignore[no-untyped-def]
    words = ("7f3a91c2", format, "q8_0", name, ollama)
    assert views.command_twin(*words) == command
    assert views.python_twin(*words) == python
