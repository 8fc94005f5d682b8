"""What the plan card says: forecast memory by component, the rows beneath it, and why Start is off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from backprop_core import units
from backprop_core.config.resolve import FieldProblem
from backprop_core.config.schema import train_fields
from backprop_core.planning.records import Plan

_TONES: Final = {
    "frozen": "c-weights",
    "adapter": "c-adapter",
    "gradients": "c-gradients",
    "optimizer": "c-optimizer",
    "activations": "c-activations",
}
_ABOUT: Final = f"about{units.NBSP}"


@dataclass(frozen=True, slots=True)
class PartView:
    """One component of the memory bar and its line in the legend."""

    label: str
    value: str
    css: str
    width: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One row of the card: icon, label, value, and where the value comes from."""

    icon: str
    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class DerivedView:
    """A value that was worked out, with its reason in short and in full."""

    field: str
    label: str
    value: str
    aside: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PlanView:
    """The whole card. Texts are ready to be shown; an empty `blocked` means that Start is on."""

    is_ready: bool = False
    is_stale: bool = False
    pill_tone: str = ""
    pill_text: str = ""
    memory_label: str = "Peak memory, forecast"
    peak: str = "–"
    free: str = ""
    error_bar: str = ""
    source: str = ""
    limit: str = ""
    bar_label: str = ""
    time: str = "–"
    time_hero: str = "–"
    time_label: str = "Time"
    steps_note: str = ""
    disk: str = ""
    data_checked: str = ""
    short_memory: str = ""
    suggestion: str = ""
    suggestion_button: str = ""
    suggestion_field: str = ""
    suggestion_value: str = ""
    blocked: str = ""
    blocked_hint: str = ""


def plan_view(plan: Plan, problems: Sequence[FieldProblem]) -> PlanView:
    """Return the head, the pill, the suggestion and the short forms of the card.

    Args:
        plan: of the draft.
        problems: why Start is off; the first one is shown beside it.
    """
    blocked, hint = (problems[0].message, page_hint(problems[0])) if problems else ("", "")
    is_cuda = plan.device == "cuda"
    pill_tone, pill_text = _pill(plan, blocked)
    suggestion = plan.suggestion
    peak = "–" if plan.peak_bytes is None else f"{plan.peak_bytes / units.GIB:.1f}"
    free = f"of {plan.free_bytes / units.GIB:.1f}{units.NBSP}GiB free"
    return PlanView(
        is_ready=True,
        pill_tone=pill_tone,
        pill_text=pill_text,
        memory_label="Peak VRAM, forecast" if is_cuda else "Peak memory, forecast",
        peak=peak,
        free=free,
        error_bar="" if plan.peak_error_bytes is None else f"± {units.gib(plan.peak_error_bytes)}",
        source=plan.peak_source,
        limit=_limit(plan),
        bar_label=f"Peak memory by component, {peak} GiB {free}",
        time="–" if plan.time_s is None else f"{_ABOUT}{forecast_time(plan.time_s)}",
        time_hero="–" if plan.time_s is None else forecast_time(plan.time_s),
        time_label="Time on this card" if is_cuda else "Time on this processor",
        steps_note=f"about, for {units.count(plan.steps)} steps",
        disk=_disk(plan),
        data_checked="" if plan.tokens is None or plan.tokens_are_estimate else "mask checked",
        short_memory=f"{peak} {free}".removesuffix(" free") + (", fits" if plan.fits else ""),
        suggestion="" if suggestion is None else suggestion.text,
        suggestion_button="" if suggestion is None else suggestion.button,
        suggestion_field="" if suggestion is None else suggestion.field,
        suggestion_value="" if suggestion is None else str(suggestion.value),
        blocked=blocked,
        blocked_hint=hint,
    )


def stale_view(before: PlanView, problems: Sequence[FieldProblem]) -> PlanView:
    """Return the card while a value of the form cannot be used at all: the old figures, dimmed, and why."""
    return dataclasses.replace(
        before,
        is_stale=True,
        pill_tone="warn",
        pill_text="Not ready",
        blocked=problems[0].message,
        blocked_hint=page_hint(problems[0]),
        suggestion="",
    )


def page_hint(problem: FieldProblem) -> str:
    """Return the hint of a problem without the flag that the command line would show."""
    names = {field.name: field.flag.partition("/")[0] for field in train_fields()}
    flag = names.get(problem.field, "")
    return f"It{problem.hint.removeprefix(flag)}" if flag and problem.hint.startswith(flag) else problem.hint


def parts(plan: Plan) -> list[PartView]:
    """Return the components with their share of the bar; the bar is as long as what is free or needed."""
    whole = max(plan.free_bytes, plan.peak_bytes or 0, 1)
    return [
        PartView(
            label=part.label,
            value=f"{part.bytes / units.GIB:.1f}" if part.bytes >= units.GIB / 20 else "<0.1",
            css=_TONES.get(part.tone, "hatch"),
            width=f"{100 * part.bytes / whole:.2f}%",
        )
        for part in plan.components
    ]


def rows(plan: Plan) -> list[PlanRow]:
    """Return the rows of the card in their order."""
    found = [PlanRow("train", "Steps", units.count(plan.steps), _steps_note(plan))]
    if plan.tokens is not None:
        found.append(PlanRow("tokens", "Tokens", units.compact(plan.tokens), _tokens_note(plan)))
    time = "unknown" if plan.time_s is None else f"{_ABOUT}{forecast_time(plan.time_s)}"
    found.append(PlanRow("clock", "Time", time, plan.time_source))
    if plan.disk_bytes is not None:
        found.append(PlanRow("disk", "Disk", units.file_size(plan.disk_bytes), _disk_note(plan)))
    found.append(PlanRow("download", "Download", *_download(plan)))
    return found


def derived(plan: Plan) -> list[DerivedView]:
    """Return the values that were worked out."""
    return [
        DerivedView(item.field, item.label, item.value, item.aside, item.reason, item.detail)
        for item in plan.derived
    ]


def forecast_time(seconds: float) -> str:
    """Return a time span no finer than a forecast is: "20 s", "1 m 40 s", "51 m", "3 h 10 m"."""
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))}{units.NBSP}s"
    if seconds < 600:
        return units.duration(10 * round(seconds / 10))
    if seconds < 3600:
        return f"{round(seconds / 60)}{units.NBSP}m"
    return units.duration(300 * round(seconds / 300))


def _pill(plan: Plan, blocked: str) -> tuple[str, str]:
    if plan.fits is False and plan.peak_bytes is not None:
        return "danger", f"{units.gib(plan.peak_bytes - plan.free_bytes)} too much"
    if blocked:
        return "warn", "Not ready"
    if plan.fits is None or plan.peak_bytes is None:
        return "", "No forecast"
    return "ok", f"Fits, {units.gib(plan.free_bytes - plan.peak_bytes)} to spare"


def _limit(plan: Plan) -> str:
    if plan.fits is not False or not plan.peak_bytes:
        return ""
    return f"{100 * plan.free_bytes / plan.peak_bytes:.1f}%"


def _steps_note(plan: Plan) -> str:
    if plan.epochs is None or plan.rows is None:
        return ""
    rows_text = f"{units.count(plan.rows)} row{'' if plan.rows == 1 else 's'}"
    passes = f"{plan.epochs:.1f}" if plan.epochs < 10 else units.count(plan.epochs)
    passes = passes.removesuffix(".0")
    return f"{passes} pass{'' if passes == '1' else 'es'}, {rows_text}"


def _tokens_note(plan: Plan) -> str:
    if plan.supervised_tokens is None or plan.supervised_share is None:
        return ""
    note = (
        f"{units.compact(plan.supervised_tokens)} carry loss, {100 * plan.supervised_share:.0f}{units.NBSP}%"
    )
    return f"about {note}" if plan.tokens_are_estimate else note


def _disk(plan: Plan) -> str:
    if plan.disk_bytes is None:
        return ""
    text = f"{units.file_size(plan.disk_bytes)} of disk"
    if plan.download_bytes:
        text = f"{units.file_size(plan.download_bytes)} to fetch once, {text}"
    return text if plan.disk_free_bytes is None else f"{text}, {units.file_size(plan.disk_free_bytes)} free"


def _disk_note(plan: Plan) -> str:
    return "" if plan.disk_free_bytes is None else f"{units.file_size(plan.disk_free_bytes)} free"


def _download(plan: Plan) -> tuple[str, str]:
    if plan.download_bytes is None:
        return "unknown", "the hub has not been asked"
    if plan.download_bytes == 0:
        return "nothing", "model and tokenizer are here"
    return units.file_size(plan.download_bytes), "once, then kept"
