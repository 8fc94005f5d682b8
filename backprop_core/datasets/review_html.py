"""The full report as one HTML file: no script, nothing fetched, every value escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from backprop_core import units
from backprop_core.datasets.detect import LABELS
from backprop_core.datasets.review import DataReview, Histogram

_COLOURS: Final = {"pass": "#1a7f4b", "warn": "#a15c00", "fail": "#b3261e"}
_STYLE: Final = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}
td:last-child{text-align:right;font-variant-numeric:tabular-nums}
.verdict{color:#fff;border-radius:.4rem;padding:.1rem .6rem}
svg{width:100%;height:12rem}rect{fill:#4c7dd0}text{font-size:10px;fill:currentColor}
"""


def to_html(review: DataReview) -> str:
    """Return the report as a page."""
    summary = review.summary
    level = review.verdict.level
    reasons = [(reason.level, reason.sentence) for reason in review.verdict.reasons]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(review.file)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(review.file)} ",
        f'<span class=verdict style="background:{_COLOURS[level]}">{level}</span></h1>',
        _table("Reasons", reasons) if reasons else "<p>Nothing stands against training on this file.</p>",
        _table("Figures", _figures(review)),
        f"<h2>Tokens per row</h2>{_bars(review.histogram)}",
        _table(
            "Rows that cannot be used", [(f"row {p.row}: {p.reason}", str(p.code)) for p in summary.problems]
        ),
        _table("Equal rows", [(_rows(group), f"{len(group)} rows") for group in review.duplicates.groups]),
        _table("Nearly equal rows", [(_rows(g), f"{len(g)} rows") for g in review.duplicates.near_groups]),
        _table("Rows that are also held out", [(f"row {a}", f"held-out row {b}") for a, b in _pairs(review)]),
        _table("Rows that hold what looks like keys", [(f"row {row}", "") for row in review.secrets.first]),
        "</html>",
    ]
    return "".join(parts)


def _figures(review: DataReview) -> list[tuple[str, str]]:
    summary = review.summary
    about = "about " if summary.is_estimate else ""
    near = review.duplicates.near_rows
    return [
        ("Format", f"{LABELS[summary.layout]} ({summary.confidence:.0%} of the rows)"),
        ("Rows", units.count(summary.rows)),
        ("Usable rows", about + units.count(summary.usable_rows)),
        ("Tokens", about + units.count(summary.tokens_total)),
        (
            "Tokens that carry loss",
            f"{about}{units.count(summary.tokens_with_loss)} ({summary.share_with_loss:.1%})",
        ),
        (
            "Tokens per row: median, 95 %, longest",
            f"{summary.p50:,}, {summary.p95:,}, {summary.longest_tokens:,}",
        ),
        (f"Rows cut at {review.max_seq_length:,} tokens", about + units.count(summary.truncated_rows)),
        ("Rows that repeat another one", units.count(review.duplicates.exact_rows)),
        ("Rows that nearly repeat another one", "not looked for" if near is None else units.count(near)),
        ("Rows with control tokens in their text", about + units.count(summary.neutralized_rows)),
        ("An answer ends with", review.end_of_turn or "nothing"),
        ("Size", units.file_size(summary.size_bytes)),
        ("SHA-256", summary.sha256),
    ]


def _pairs(review: DataReview) -> Sequence[tuple[int, int]]:
    return review.leaks.pairs if review.leaks is not None else ()


def _rows(group: Iterable[int]) -> str:
    return "rows " + ", ".join(map(str, group))


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    body = "".join(f"<tr><td>{escape(left)}</td><td>{escape(right)}</td></tr>" for left, right in rows)
    return f"<h2>{escape(title)}</h2><table>{body}</table>"


def _bars(histogram: Histogram) -> str:
    if not histogram.counts:
        return ""
    width = 600 / len(histogram.counts)
    top = max(histogram.counts)
    bars = "".join(
        f'<rect x="{index * width:.1f}" y="{100 - 90 * count / top:.1f}" width="{width * 0.9:.1f}" '
        f'height="{90 * count / top:.1f}"><title>{histogram.edges[index]:,} to '
        f"{histogram.edges[index + 1] - 1:,} tokens: {count:,} rows</title></rect>"
        for index, count in enumerate(histogram.counts)
    )
    labels = f"<text x=0 y=112>0</text><text x=600 y=112 text-anchor=end>{histogram.edges[-1]:,}</text>"
    return f'<svg viewBox="0 0 600 115" preserveAspectRatio=none role=img>{bars}{labels}</svg>'
