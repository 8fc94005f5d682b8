"""Forecasts before an export: exact sizes, plausible times, every choice."""

from __future__ import annotations

from backprop_core.gguf import QUANTIZATIONS, export_gguf, forecast_gguf
from tests.support.checkpoints import HIDDEN, lora_arrays, write_adapter, write_checkpoint


def test_forecast_names_the_exact_size_of_every_choice(tmp_path):
    model = write_checkpoint(tmp_path / "m")
    forecasts = {entry.quantization: entry for entry in forecast_gguf(model)}
    assert list(forecasts) == list(QUANTIZATIONS)
    for key in ("f16", "q4_0"):
        assert forecasts[key].size_bytes == export_gguf(model, tmp_path / f"{key}.gguf", key).size_bytes


def test_more_cores_mean_less_time_when_packing_is_the_bottleneck(tmp_path, monkeypatch):
    monkeypatch.setattr("backprop_core.gguf.estimate._WRITE_BYTES_PER_S", 1e15)
    monkeypatch.setattr("backprop_core.gguf.estimate._elements_per_second", lambda *_: 1000.0)
    model = write_checkpoint(tmp_path / "m")
    (one,) = forecast_gguf(model, quantizations=["q8_0"], threads=1)
    (four,) = forecast_gguf(model, quantizations=["q8_0"], threads=4)
    assert one.seconds == 4 * four.seconds > 0


def test_sample_is_taken_from_a_matrix_that_the_adapter_changes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "backprop_core.gguf.estimate.pack_rows", lambda tensor, *_rest: asked.append(tensor.source)
    )
    model = write_checkpoint(tmp_path / "m")
    module = "model.layers.1.self_attn.o_proj"
    adapter = write_adapter(tmp_path / "a", lora_arrays(module, HIDDEN, HIDDEN))
    forecast_gguf(model, adapter_dir=adapter, quantizations=["f16"])
    assert set(asked) == {f"{module}.weight"}
