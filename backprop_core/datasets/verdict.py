"""Judges a data file by its figures: pass, warn or fail, each reason in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from backprop_core.datasets.duplicates import DuplicateFindings
from backprop_core.datasets.leaks import LeakFindings
from backprop_core.datasets.report import DatasetSummary
from backprop_core.datasets.secret_rows import SecretFindings
from backprop_core.datasets.tokenizer import TemplateOrigin

Level = Literal["pass", "warn", "fail"]

_FEW_ROWS: Final = 30
_ORDER: Final[dict[Level, int]] = {"fail": 0, "warn": 1, "pass": 2}


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing to know about the data, with a stable word for programs."""

    level: Level
    word: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement: the worst level of its reasons; `pass` when there are none."""

    level: Level
    reasons: tuple[Reason, ...]


def judge(
    summary: DatasetSummary,
    duplicates: DuplicateFindings,
    leaks: LeakFindings | None,
    secrets: SecretFindings,
    *,
    commonest_answer_share: float,
    train_on_responses: bool,
    template_origin: TemplateOrigin,
    has_end_of_turn: bool,
) -> Verdict:
    """Return the verdict on a data file."""
    reasons = [
        *_about_rows(summary, commonest_answer_share),
        *_about_repeats(summary, duplicates, leaks),
        *_about_tokens(summary, train_on_responses),
        *_about_model(template_origin, has_end_of_turn),
    ]
    if secrets.rows:
        sentence = f"{secrets.rows:,} rows hold what looks like a key or password; the model would learn it."
        reasons.append(Reason("warn", "secrets", sentence))
    reasons.sort(key=lambda reason: _ORDER[reason.level])
    return Verdict(reasons[0].level if reasons else "pass", tuple(reasons))


def _about_rows(summary: DatasetSummary, commonest_answer_share: float) -> Iterator[Reason]:
    if summary.n_problems:
        share = summary.n_problems / summary.rows
        level: Level = "fail" if share > 0.5 else "warn"
        yield Reason(
            level,
            "unusable_rows",
            f"{summary.n_problems:,} of {summary.rows:,} rows cannot be used ({share:.1%}).",
        )
    if summary.usable_rows < _FEW_ROWS:
        yield Reason(
            "warn", "few_rows", f"Only {summary.usable_rows:,} rows: a model learns little but their words."
        )
    if summary.is_mixed:
        yield Reason("warn", "mixed_formats", f"The rows are of several formats: {summary.reason}.")
    if summary.unanswered_rows:
        yield Reason(
            "warn",
            "unanswered_rows",
            f"{summary.unanswered_rows:,} rows do not end with an answer; the rest of them counts.",
        )
    if commonest_answer_share > 0.3 and summary.usable_rows >= _FEW_ROWS:
        yield Reason("warn", "same_answer", f"{commonest_answer_share:.0%} of the rows have the same answer.")


def _about_repeats(
    summary: DatasetSummary, duplicates: DuplicateFindings, leaks: LeakFindings | None
) -> Iterator[Reason]:
    if duplicates.exact_rows:
        first = ", ".join(map(str, duplicates.groups[0][:3]))
        yield Reason(
            "warn",
            "duplicates",
            f"{duplicates.exact_rows:,} rows repeat another one exactly (for example rows {first}).",
        )
    if duplicates.near_rows and duplicates.near_rows > summary.usable_rows * 0.02:
        first = ", ".join(map(str, duplicates.near_groups[0][:3]))
        yield Reason(
            "warn",
            "near_duplicates",
            f"{duplicates.near_rows:,} rows nearly repeat another one (for example rows {first}).",
        )
    if leaks is not None and leaks.rows:
        row, heldout_row = leaks.pairs[0]
        yield Reason(
            "fail",
            "leaks",
            f"{leaks.rows:,} rows are also held out (row {row} and held-out row {heldout_row}); a score on them says nothing.",
        )


def _about_tokens(summary: DatasetSummary, train_on_responses: bool) -> Iterator[Reason]:
    share = summary.share_with_loss
    if train_on_responses and summary.layout != "text" and share > 0.98:
        yield Reason(
            "warn", "mask_all", f"{share:.1%} of the tokens carry loss: the questions are nearly empty."
        )
    if share < 0.02:
        yield Reason(
            "warn",
            "mask_little",
            f"Only {share:.2%} of the tokens carry loss: most of the time is spent on questions.",
        )
    if summary.truncated_rows > summary.usable_rows * 0.01:
        yield Reason(
            "warn",
            "truncated",
            f"{summary.truncated_rows:,} rows are longer than the chosen length and are cut; the longest has {summary.longest_tokens:,} tokens.",
        )
    if summary.neutralized_rows:
        yield Reason(
            "warn",
            "forged_turns",
            f"{summary.neutralized_rows:,} rows hold control tokens in their text; they are made harmless.",
        )
    if summary.reasoning_lost_rows:
        yield Reason(
            "warn",
            "thinking_lost",
            f"{summary.reasoning_lost_rows:,} rows hold thinking that is not part of what the model sees.",
        )


def _about_model(template_origin: TemplateOrigin, has_end_of_turn: bool) -> Iterator[Reason]:
    if template_origin in ("chatml", "plain"):
        name = "ChatML" if template_origin == "chatml" else "a plain User/Assistant form"
        yield Reason("warn", "template_missing", f"The model has no chat template; {name} is used instead.")
    if not has_end_of_turn:
        yield Reason(
            "warn",
            "no_end_of_turn",
            "The chat template ends answers with no token: the model will not learn to stop.",
        )
