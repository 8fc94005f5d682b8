"""Which learning rate is best at which rank, under both rules for alpha: `python -m benchmarks.rank_sweep`.

Trains SmolLM2-135M on the shipped support data and prints the held-out loss of each cell, one line as
it is measured and a table at the end. About ten minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

from backprop_core.config.resolve import Layer, resolve_train
from backprop_core.engine.context import open_run
from backprop_core.engine.execution import execute
from backprop_core.events.journal import JournalReader
from backprop_core.events.types import Evaluated
from backprop_core.runs.store import RunInfo, create_run, new_run_id
from benchmarks.report import machine
from benchmarks.train import tutorial_model

DATA = Path(__file__).parents[1] / "examples" / "support.jsonl"
RATES = (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3)
RULES = {"alpha 32": lambda rank: 32.0, "alpha 2r": lambda rank: 2.0 * rank}
RANKS = {"alpha 32": (16, 256), "alpha 2r": (256,)}


def held_out_loss(place: Path, model: Path, *, rank: int, alpha: float, rate: float, steps: int) -> float:
    """Return the loss on held-out rows after a short run."""
    spec = {
        "model": str(model),
        "dataset": str(DATA),
        "steps": steps,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "lora_r": rank,
        "lora_alpha": alpha,
        "learning_rate": rate,
        "max_seq_length": 512,
        "eval_split": 0.15,
        "checkpoint_every": 10**6,
        "device": "cpu",
        "report_to": "none",
    }
    info = RunInfo(
        run_id=new_run_id(),
        name="sweep",
        source="python",
        created_at="",
        launch_id="",
        is_detached=False,
        version="",
    )
    folder = create_run(place, resolve_train([Layer("explicit", spec)]), info)
    with open_run(folder.path, place) as context:
        execute(context)
    events = [event.body for event in JournalReader(folder.journal_path).read_all()]
    return next(body.loss for body in reversed(events) if isinstance(body, Evaluated))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the tutorial model by default")
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    model = chosen.model or tutorial_model()
    lines = []
    for rule, alpha in RULES.items():
        for rank in RANKS[rule]:
            cells = []
            for rate in RATES:
                with tempfile.TemporaryDirectory() as place:
                    loss = held_out_loss(
                        Path(place), model, rank=rank, alpha=alpha(rank), rate=rate, steps=chosen.steps
                    )
                print(f"{rule}, rank {rank}, rate {rate:g}: {loss:.4f}", flush=True)
                cells.append(loss)
            best = RATES[min(range(len(cells)), key=cells.__getitem__)]
            lines.append(
                f"| {rule} | {rank} | " + " | ".join(f"{cell:.3f}" for cell in cells) + f" | {best:g} |"
            )
    print(machine())
    print("\n| rule | rank | " + " | ".join(f"{rate:g}" for rate in RATES) + " | best rate |")
    print("|---" * (len(RATES) + 3) + "|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
