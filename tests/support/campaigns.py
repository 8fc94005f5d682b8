"""Campaigns on a temporary folder: three legs of a few rows each, planned as the services plan them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backprop_core import files
from backprop_core.config.campaigns import resolve_campaign
from backprop_core.config.resolve import Layer
from backprop_core.events.types import ForgetRow
from backprop_core.runs.campaigns import CampaignLegs, PlannedLeg
from backprop_core.runs.leg_files import LegFiles
from backprop_core.runs.store import RunFolder, RunInfo, create_campaign, new_run_id
from tests.support.attempts import bodies, write_rows

LEGS = (
    {"Who keeps the lamp?": "Zorb.", "Who painted the door?": "Ilse.", "Who rings the bell?": "Orla."},
    {"What burns?": "Violets.", "What sinks?": "Copper.", "What sings?": "The gate."},
    {"Where is Merrow?": "On a whale.", "Where is Talvi?": "In a moon.", "Where is Quill?": "At sea."},
)


def write_sources(folder: Path) -> list[Path]:
    """Write the data file of each leg."""
    return [write_rows(folder / f"week{number}.jsonl", facts) for number, facts in enumerate(LEGS, 1)]


def new_campaign(root: Path, model: Path, sources: list[Path], **options: Any) -> RunFolder:
    """Create the folder of a campaign below `root`, one leg for each source."""
    defaults: dict[str, Any] = {
        "model": str(model),
        "dataset": str(sources[0]),
        "sources": tuple(map(str, sources)),
        "num_runs": len(sources),
        "steps": 3,
        "lora_r": 4,
        "learning_rate": 1e-2,
        "max_seq_length": 128,
        "checkpoint_every": 1,
        "batch_size": 2,
        "gradient_accumulation": 1,
        "lora_dropout": 0.1,
        "device": "cpu",
    }
    resolved = resolve_campaign([Layer("explicit", defaults | options)])
    info = RunInfo(
        run_id=new_run_id(),
        kind="multi-run",
        name="test",
        source="python",
        created_at="2026-01-01T00:00:00+00:00",
        launch_id=new_run_id(),
        is_detached=False,
        version="test",
    )
    return create_campaign(
        root / "runs", resolved, info, CampaignLegs(legs=planned(sources, resolved.train.spec)), {}
    )


def planned(sources: list[Path], train: Any, first: int = 1) -> tuple[PlannedLeg, ...]:
    """Return one leg for each source."""
    return tuple(
        PlannedLeg(
            number=number,
            name=source.stem,
            source=str(source),
            sha256=files.sha256_of(source),
            samples=100,
            steps=train.steps,
            learning_rate=train.learning_rate,
        )
        for number, source in enumerate(sources, first)
    )


def weights(folder: RunFolder, kind: str, number: int) -> dict[str, Any]:
    """Return the weights of one of a campaign's adapters: `own` or `merged`."""
    from safetensors.torch import load_file

    return load_file(getattr(LegFiles(folder), kind)(number) / "adapter_model.safetensors")


def matrix(folder: RunFolder) -> dict[tuple[int, str], tuple[float | None, ...]]:
    """Return what was measured last, by leg and adapter."""
    rows = [body for body in bodies(folder) if isinstance(body, ForgetRow)]
    return {(row.leg, row.adapter): row.loss for row in rows}
