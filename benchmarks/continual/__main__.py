"""Does SLAO forget less than its baselines here: `python -m benchmarks.continual`.

Each cell is one campaign of SmolLM2-135M (rank 8 on q and v) over the tasks in one order with one seed, by the
product's own engine; the figures are those of its forget matrix. Cells are appended to a file, so that a grid may be
measured in parts; `--table` prints what the file holds. `--full` is the grid for a CUDA card, with the two bounds:
each task alone, and all of them at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backprop_core import files
from backprop_core.config.campaigns import resolve_campaign
from backprop_core.config.resolve import Layer
from backprop_core.engine.context import open_run
from backprop_core.engine.execution import execute
from backprop_core.events.journal import JournalReader
from backprop_core.runs.campaigns import CampaignLegs, PlannedLeg, campaign_state
from backprop_core.runs.store import RunFolder, RunInfo, create_campaign, new_run_id
from benchmarks.continual.tasks import TASKS, rows_of
from benchmarks.report import machine
from benchmarks.train import tutorial_model

METHODS = ("slao", "slao-merged-b", "simple", "average")
BOUNDS = ("alone", "joint")


@dataclass(frozen=True)
class Size:
    """How large each leg is."""

    tasks: int
    rows: int
    held_out_share: float
    steps: int
    batch: int
    rate: float


REDUCED = Size(tasks=3, rows=120, held_out_share=0.2, steps=12, batch=6, rate=2e-3)
FULL = Size(tasks=5, rows=400, held_out_share=0.25, steps=40, batch=16, rate=2e-3)


def orders(tasks: Sequence[str]) -> list[list[str]]:
    """Return the two orders of the tasks."""
    return [list(tasks), list(reversed(tasks))]


def campaign(
    place: Path, model: Path, legs: Sequence[Sequence[str]], size: Size, *, mode: str, seed: int, device: str
) -> RunFolder:
    """Run a campaign, each leg over the rows of one or more tasks, and return its folder."""
    sources = []
    for number, tasks in enumerate(legs, 1):
        rows = [row for task in tasks for row in rows_of(task, size.rows, seed)]
        path = place / f"{number}-{'-'.join(tasks)}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sources.append(path)
    spec = {
        "model": str(model),
        "dataset": str(sources[0]),
        "sources": tuple(map(str, sources)),
        "num_runs": len(sources),
        "steps": size.steps * len(legs[0]),
        "batch_size": size.batch,
        "gradient_accumulation": 1,
        "lora_r": 8,
        "lora_alpha": 16,
        "target_modules": "q_proj,v_proj",
        "learning_rate": size.rate,
        "max_seq_length": 96,
        "eval_split": size.held_out_share,
        "merge_mode": mode,
        "seed": seed,
        "checkpoint_every": 10**6,
        "device": device,
        "report_to": "none",
    }
    resolved = resolve_campaign([Layer("explicit", spec)])
    planned = tuple(
        PlannedLeg(
            number=number,
            name=source.stem,
            source=str(source),
            sha256=files.sha256_of(source),
            samples=10**6,
            steps=resolved.train.spec.steps,
            learning_rate=size.rate,
        )
        for number, source in enumerate(sources, 1)
    )
    folder = create_campaign(place / "runs", resolved, _info(), CampaignLegs(legs=planned), {})
    with open_run(folder.path, place) as context:
        execute(context)
    return folder


def cell(
    model: Path, names: Sequence[str], size: Size, *, mode: str, seed: int, device: str
) -> dict[str, Any]:
    """Measure one method on one order with one seed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        if mode in BOUNDS:
            figures = _bound(Path(place), model, names, size, mode=mode, seed=seed, device=device)
        else:
            legs = [[name] for name in names]
            folder = campaign(Path(place), model, legs, size, mode=mode, seed=seed, device=device)
            figures = _figures(folder)
    return {
        "method": mode,
        "order": list(names),
        "seed": seed,
        "seconds": time.monotonic() - began,
        **figures,
    }


def _bound(
    place: Path, model: Path, names: Sequence[str], size: Size, *, mode: str, seed: int, device: str
) -> dict[str, Any]:
    """Return what is reached without continual learning: each task by itself, or all at once."""
    groups = [list(names)] if mode == "joint" else [[name] for name in names]
    found = []
    for number, group in enumerate(groups):
        own = place / str(number)
        own.mkdir()
        folder = campaign(own, model, [group], size, mode="simple", seed=seed, device=device)
        found.append(_figures(folder))
    averages = {
        key: statistics.fmean(each[key] for each in found) for key in ("exact_average", "loss_average")
    }
    return {
        **averages,
        "exact_backward": None,
        "loss_backward": None,
        "exact_learned": None,
        "loss_learned": None,
    }


def _figures(folder: RunFolder) -> dict[str, Any]:
    plan = CampaignLegs.model_validate(files.read_json(folder.legs / "plan.json"))
    state = campaign_state(plan.legs, JournalReader(folder.journal_path).read_all())
    exact, loss = state.summary("exact"), state.summary("loss")
    assert exact is not None and loss is not None
    return {
        "exact_average": exact.average,
        "exact_backward": exact.backward,
        "exact_learned": exact.learned,
        "loss_average": -loss.average,
        "loss_backward": None if loss.backward is None else -loss.backward,
        "loss_learned": -loss.learned,
    }


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Return the mean and the spread of every method as Markdown."""
    head = "| method | cells | exact, average | backward | right after | loss, average | backward | right after |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for method in (*METHODS, *BOUNDS):
        own = [each for each in cells if each["method"] == method]
        if not own:
            continue
        exact = [_spread(own, f"exact_{name}", 100, 1) for name in ("average", "backward", "learned")]
        loss = [_spread(own, f"loss_{name}", 1, 3) for name in ("average", "backward", "learned")]
        lines.append(f"| {method} | {len(own)} | {' | '.join([*exact, *loss])} |")
    return "\n".join(lines)


def _spread(cells: Sequence[dict[str, Any]], key: str, scale: float, digits: int) -> str:
    values = [scale * each[key] for each in cells if each[key] is not None]
    if not values:
        return "–"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {spread:.{digits}f}"


def _info() -> RunInfo:
    return RunInfo(
        run_id=new_run_id(),
        kind="multi-run",
        name="study",
        source="python",
        created_at="",
        launch_id="",
        is_detached=False,
        version="",
    )


def main() -> None:
    """Measure the cells that were asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model folder; the tutorial model by default")
    parser.add_argument(
        "--full", action="store_true", help="5 tasks, 40 steps, 3 seeds and both bounds, on CUDA"
    )
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *BOUNDS))
    parser.add_argument("--orders", nargs="+", type=int, choices=(1, 2), default=(1, 2))
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument(
        "--cells", type=Path, default=Path("continual.jsonl"), help="file that the cells go to"
    )
    parser.add_argument("--table", action="store_true", help="print what the file holds; measure nothing")
    chosen = parser.parse_args()
    size = FULL if chosen.full else REDUCED
    if not chosen.table:
        logging.disable(logging.WARNING)
        model = chosen.model or tutorial_model()
        methods = chosen.methods or ((*METHODS, *BOUNDS) if chosen.full else METHODS)
        seeds = chosen.seeds or ((1, 2, 3) if chosen.full else (1, 2))
        for seed in seeds:
            for order in chosen.orders:
                names = orders(TASKS[: size.tasks])[order - 1]
                for mode in methods:
                    device = "cuda" if chosen.full else "cpu"
                    found = cell(model, names, size, mode=mode, seed=seed, device=device)
                    with chosen.cells.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(found) + "\n")
                    print(json.dumps(found), flush=True)
    print(machine())
    print(table([json.loads(line) for line in chosen.cells.read_text(encoding="utf-8").splitlines()]))


if __name__ == "__main__":
    main()
