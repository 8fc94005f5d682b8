"""Figures, histogram, verdict and versions of a data file in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from backprop_app.views.dataset import NOTHING, dataset_href, model_label
from backprop_core import units
from backprop_core.datasets.report import DatasetSummary
from backprop_core.datasets.review import DataReview, Histogram
from backprop_core.datasets.versions import Recipe, Version
from backprop_core.services.datasets import DataChoices, FileFigures

PLOT_WIDTH: Final = 396.0
PLOT_HEIGHT: Final = 88.0
_TOP: Final = 10.0
_LEAST: Final = 1.5

_VERDICTS: Final = {
    "pass": ("ok", "Ready to train"),
    "warn": ("warn", "Look at this first"),
    "fail": ("danger", "Not ready"),
}
_LEVEL_ICONS: Final = {"pass": "check", "warn": "alert", "fail": "cross"}


@dataclass(frozen=True, slots=True)
class FiguresView:
    """The six figures; each has a value, a unit and a note."""

    rows: str = NOTHING
    rows_note: str = "counting"
    tokens: str = NOTHING
    tokens_unit: str = ""
    tokens_note: str = ""
    loss: str = NOTHING
    loss_note: str = ""
    long: str = NOTHING
    long_note: str = ""
    repeats: str = NOTHING
    repeats_note: str = "in the report"
    leaks: str = NOTHING
    leaks_note: str = "in the report"


@dataclass(frozen=True, slots=True)
class BarView:
    """One bar of the histogram, in the units of its view box."""

    x: str
    y: str
    width: str
    height: str
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class LengthView:
    """What stands around the histogram; `cut_x` is a CSS length, empty when nothing is cut."""

    lead: str = ""
    summary: str = ""
    cut_x: str = ""
    cut_flips: bool = False
    cut: str = ""
    cut_note: str = ""
    middle: str = ""
    last: str = ""


@dataclass(frozen=True, slots=True)
class ReasonView:
    """One reason of the verdict."""

    icon: str
    tone: str
    sentence: str


@dataclass(frozen=True, slots=True)
class VerdictView:
    """The verdict in one word and what was looked at; `tone` is empty before the report."""

    tone: str = ""
    word: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class VersionItem:
    """One version of a file."""

    href: str
    name: str
    number: str
    recipe: str
    rows: str
    made: str
    is_open: bool


def figures_view(found: FileFigures, report: DataReview | None, choices: DataChoices) -> FiguresView:
    """Return the six figures, exact ones where a report was made."""
    facts = report.summary if report is not None else found.facts
    problems = facts.n_problems
    view = FiguresView(
        rows=units.count(facts.rows),
        rows_note=f"{problems:,} unusable",
        tokens_note=f"needs {model_label(choices.model)}",
        loss_note="needs the model",
        long_note="needs the model",
        **_repeats(report),
    )
    return _with_tokens(view, facts, choices) if isinstance(facts, DatasetSummary) else view


def _with_tokens(view: FiguresView, summary: DatasetSummary, choices: DataChoices) -> FiguresView:
    number, _, unit = units.compact(summary.tokens_total).partition(units.NBSP)
    share = 100 * summary.truncated_rows / max(1, summary.usable_rows)
    about = "about, sampled"
    return FiguresView(
        rows=view.rows,
        rows_note=view.rows_note,
        tokens=number,
        tokens_unit=unit,
        tokens_note=about if summary.is_estimate else model_label(choices.model),
        loss=f"{100 * summary.share_with_loss:.1f}",
        loss_note="assistant turns only" if choices.train_on_responses else "every turn",
        long=units.count(summary.truncated_rows),
        long_note=f"{share:.1f}{units.NBSP}% at {choices.max_seq_length:,}",
        repeats=view.repeats,
        repeats_note=view.repeats_note,
        leaks=view.leaks,
        leaks_note=view.leaks_note,
    )


def _repeats(report: DataReview | None) -> dict[str, str]:
    if report is None:
        return {}
    exact, near = report.duplicates.exact_rows, report.duplicates.near_rows
    values = {
        "repeats": units.count(exact + (near or 0)),
        "repeats_note": f"{exact:,} exact, " + ("near not looked for" if near is None else f"{near:,} near"),
        "leaks_note": "no held-out file",
    }
    if report.leaks is not None:
        values |= {
            "leaks": units.count(report.leaks.rows),
            "leaks_note": f"against {report.leaks.heldout_rows:,} rows",
        }
    return values


def bar_views(histogram: Histogram | None, cut: int) -> list[BarView]:
    """Return the bars; those of rows that are cut look different."""
    if histogram is None or not histogram.counts:
        return []
    width = PLOT_WIDTH / len(histogram.counts)
    top = max(histogram.counts)
    bars = []
    for index, count in enumerate(histogram.counts):
        height = max(_LEAST, (PLOT_HEIGHT - _TOP) * count / top) if count else 0.0
        first, last = histogram.edges[index], histogram.edges[index + 1] - 1
        bars.append(
            BarView(
                x=f"{index * width + 1:.1f}",
                y=f"{PLOT_HEIGHT - height:.1f}",
                width=f"{max(1.0, width - 2):.1f}",
                height=f"{height:.1f}",
                css="long" if first >= cut else "",
                title=f"{first:,} to {last:,} tokens: {count:,} rows",
            )
        )
    return bars


def length_view(histogram: Histogram | None, summary: DatasetSummary | None, cut: int) -> LengthView:
    """Return what stands around the bars."""
    if histogram is None or summary is None or not histogram.counts:
        return LengthView()
    end = histogram.edges[-1]
    lead = f"median {summary.p50:,}, longest {summary.longest_tokens:,}"
    share = 100 * summary.truncated_rows / max(1, summary.usable_rows)
    note = f"{summary.truncated_rows:,} rows, {share:.1f}{units.NBSP}%"
    return LengthView(
        lead=lead,
        summary=f"Tokens per row: {lead}; {summary.truncated_rows:,} rows are longer than {cut:,}",
        cut_x=f"{100 * cut / end:.2f}%" if cut < end else "",
        cut_flips=cut > end / 2,
        cut=f"cut at {cut:,}",
        cut_note=note,
        middle=units.count(end // 2),
        last=f"{end:,} tokens",
    )


def verdict_view(report: DataReview) -> VerdictView:
    """Return the verdict of a report."""
    tone, word = _VERDICTS[report.verdict.level]
    rows = f"{report.summary.rows:,} row{'' if report.summary.rows == 1 else 's'}"
    return VerdictView(tone, word, f"{rows}, every token counted")


def reason_views(report: DataReview) -> list[ReasonView]:
    """Return the reasons of a verdict, worst first."""
    return [
        ReasonView(_LEVEL_ICONS[reason.level], _VERDICTS[reason.level][0], reason.sentence)
        for reason in report.verdict.reasons
    ]


def repeats_of(report: DataReview) -> dict[int, int]:
    """Return for each row that is known to repeat another the number of that one."""
    groups = (*report.duplicates.near_groups, *report.duplicates.groups)
    return {row: group[0] for group in groups for row in group[1:]}


def repeated_numbers(report: DataReview) -> list[int]:
    """Return the rows of the first groups that say the same, the kept ones among them."""
    return sorted(
        {row for group in (*report.duplicates.groups, *report.duplicates.near_groups) for row in group}
    )


def version_items(versions: Sequence[Version], open_path: Path) -> list[VersionItem]:
    """Return the versions, newest first."""
    return [
        VersionItem(
            href=dataset_href(version.path),
            name=version.path.name,
            number=f"v{version.number}",
            recipe=recipe_text(version.recipe),
            rows=f"{version.recipe.rows:,} rows" if version.recipe is not None else "",
            made=_clock(version.recipe),
            is_open=version.path == open_path,
        )
        for version in reversed(versions)
    ]


def version_text(versions: Sequence[Version], open_path: Path) -> str:
    """Return which version is open: "Version 3 of 3, source untouched."."""
    if len(versions) < 2:
        return ""
    at = next((index for index, version in enumerate(versions, 1) if version.path == open_path), 0)
    return f"Version {at} of {len(versions)}, source untouched." if at else ""


def recipe_text(recipe: Recipe | None) -> str:
    """Return what made a version: "sample of quickstart.jsonl: rows 3, seed 0"."""
    if recipe is None:
        return "the source"
    values = ", ".join(
        f"{name.replace('_', ' ')} {_value(value)}" for name, value in _changed(recipe.parameters).items()
    )
    return f"{recipe.operation} of {recipe.source}" + (f": {values}" if values else "")


def _changed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value not in (None, "", 0) or name == "seed"}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")


def _clock(recipe: Recipe | None) -> str:
    if recipe is None:
        return ""
    try:
        return datetime.fromisoformat(recipe.made_at).strftime("%d %b %H:%M")
    except ValueError:
        return ""
