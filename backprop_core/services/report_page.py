"""The morning report as one HTML file: no script, nothing fetched, every name escaped. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from backprop_core import units
from backprop_core.services.report import Report, RunReport, energy_text

_WIDTH: Final = 240
_HEIGHT: Final = 48
_STYLE: Final = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 0 }
section { border-top: 1px solid #8886; padding: 1rem 0 }
dl { display: grid; grid-template-columns: 9rem 1fr; gap: .15rem .5rem; margin: .5rem 0 }
dt { opacity: .7 } dd { margin: 0 }
code { font-size: .9em } svg { display: block; margin: .5rem 0 }
path { fill: none; stroke: currentColor; stroke-width: 1.5 }
"""


def html_report(report: Report) -> str:
    """Return the report as a document."""
    energy = f"<p>Energy: {escape(energy_text(report.energy_wh))}, since {escape(report.since)}</p>"
    sections = "\n".join(_section(run) for run in report.runs)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(report.headline)} · Backpropagate</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(report.headline)}</h1>\n{energy}\n{sections}\n</body></html>\n"
    )


def _section(run: RunReport) -> str:
    facts = {
        "Run": run.short_id,
        "Model": run.model,
        "Steps": f"{units.count(run.step)} of {units.count(run.total_steps)}" if run.total_steps else "",
        "Loss": f"{units.loss(run.loss)}, lowest {units.loss(run.best_loss)} in step {units.count(run.best_step)}"
        if run.best_loss is not None
        else "",
        "Time": units.duration(run.seconds),
        "Energy": energy_text(run.energy_wh),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    stops = "".join(f"<dt>Halt</dt><dd>{escape(stop)}</dd>" for stop in run.stops)
    error = (
        f"<p><b>{escape(run.error['code'])}</b>: {escape(run.error['message'])}<br>{escape(run.error['hint'])}</p>"
        if run.error
        else ""
    )
    steps = "".join(
        f"<li>{escape(step.label)}: <code>{escape(step.command)}</code></li>" for step in run.next_steps
    )
    return (
        f"<section><h2>{escape(run.name)}: {escape(run.status)}</h2>{_curve(run.curve)}"
        f"<dl>{rows}{stops}</dl>{error}{f'<ul>{steps}</ul>' if steps else ''}</section>"
    )


def _curve(losses: Sequence[float]) -> str:
    """Return the losses as a line from left to right; nothing for fewer than two finite ones."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) < 2:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    step = (_WIDTH - 4) / (len(finite) - 1)
    spots = (
        f"{2 + step * number:.1f} {_HEIGHT - 2 - (_HEIGHT - 4) * (loss - low) / span:.1f}"
        for number, loss in enumerate(finite)
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="Loss over steps">'
        f'<path d="M{"L".join(spots)}"/></svg>'
    )
