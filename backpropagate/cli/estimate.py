"""`backprop estimate-vram`: the memory of a fine-tune before anything is fetched or started."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from backpropagate.cli.options import given_values, with_fields
from backpropagate.cli.root import command

if TYPE_CHECKING:
    from backprop_core.planning.estimate import MemoryEstimate

_WEIGHTS: Final = {"none": "unquantized", "4bit": "4-bit", "8bit": "8-bit"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    command(app, "estimate-vram")(estimate_vram)


@with_fields(
    "batch_size",
    "max_seq_length",
    "packing",
    "mode",
    "lora_preset",
    "lora_r",
    "target_modules",
    "use_dora",
    "optim",
    "gradient_checkpointing",
    "quantization",
    "device",
)
def estimate_vram(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A preset key, a hub id or a local folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
    **fields: Any,
) -> None:
    """Forecast the memory that a fine-tune needs, by component, and the largest batch that fits.

    From the model's config alone: presets need no download. Every row counts with the full length.
    """
    from backprop_core.config.resolve import Layer
    from backprop_core.services.estimates import estimate
    from backpropagate.cli.opening import workspace
    from backpropagate.cli.render import put_json, talk

    with workspace() as ws:
        found = estimate(ws, [Layer("flag", {**given_values(fields), "model": model})])
    if as_json:
        put_json("estimate", dataclasses.asdict(found))
    else:
        _show(found)
    for problem in found.problems:
        talk(f"note: {problem.message} {problem.hint}".rstrip())


def _show(found: MemoryEstimate) -> None:
    from backprop_core import units
    from backpropagate.cli.plan import show_components
    from backpropagate.cli.render import pairs, put, table

    about = "" if found.is_exact else "about "
    learns = f"{units.compact(found.trainable_parameters)} of them learn"
    method = "full mode" if found.lora_r is None else f"rank {found.lora_r}"
    pairs(
        {
            "Model": f"{found.model}, {about}{units.compact(found.parameters)} parameters",
            "Method": f"{method}, {learns}, weights {_WEIGHTS[found.quantization]}, {found.optim}",
            "Device": f"{found.device_name} ({found.device}, {found.precision})",
            "Memory": f"{units.gib(found.peak_bytes)} ± {units.gib(found.peak_error_bytes)} of "
            f"{units.gib(found.free_bytes)} free, {_fits(found.fits)}",
            "Forecast": found.peak_source,
            "Largest": f"{_batch(found.largest_batch)} of {units.count(found.max_seq_length)} tokens in one micro-batch",
        }
    )
    put()
    show_components(found.components)
    if found.cards:
        put()
        rows = [
            (
                f"{card.card_gib} GiB",
                _fits(card.fits),
                units.gib(card.peak_bytes),
                _WEIGHTS[card.quantization],
                _batch(card.largest_batch),
            )
            for card in found.cards
        ]
        table(("CARD", "", "PEAK", "WEIGHTS", "LARGEST BATCH"), rows, numbers=("PEAK", "LARGEST BATCH"))


def _fits(fits: bool) -> str:
    return "fits" if fits else "does not fit"


def _batch(rows: int) -> str:
    from backprop_core import units
    from backprop_core.planning.estimate import LARGEST_BATCH

    if rows == 0:
        return "no row"
    more = " or more" if rows == LARGEST_BATCH else ""
    return f"{units.count(rows)} row{'' if rows == 1 else 's'}{more}"
