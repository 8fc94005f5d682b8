"""The three lines of the README: train, export, done."""

from __future__ import annotations

from backprop_core.gguf import check_gguf
from backpropagate import Trainer


def test_a_trainer_exports_what_it_has_trained(tiny_model, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(str(tiny_model), lora_r=4, max_seq_length=128, device="cpu")
    run = trainer.train(rows, steps=1)
    made = trainer.export("gguf", quantization="q4_k_m")
    assert made.path == tmp_path / "output" / "exports" / "gguf" / f"facts-{run.run_id[:8]}-q4_k_m.gguf"
    file = check_gguf(made.path)
    assert file.metadata["backpropagate.run_id"] == run.run_id
    assert trainer.export("lora", output_dir=tmp_path / "here").path.parent == tmp_path / "here"
