"""The page of one run: live while it works, a record afterwards, a failure card when it went wrong."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import empty, figure, page_head, panel, segmented
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.components.local import Chart, CopyButton, PointTable, link
from backprop_app.components.log import event_log
from backprop_app.components.status import pill
from backprop_app.layout import Twin, shell
from backprop_app.states.run import RunState
from backprop_app.states.train import TrainState

_VIEW = RunState.view
_MARKS = RunState.marks
_COLUMNS = {"loss": 2, "learning_rate": 3, "grad_norm": 4, "tokens_per_s": 5}
_LAST_STEPS = 500


def run_page() -> rx.Component:
    """Return the page at `/runs/<id>`."""
    found = rx.fragment(
        _head(),
        rx.cond(RunState.failure.code != "", _failure(), rx.fragment()),
        rx.cond(_VIEW.has_steps, _figures(), rx.fragment()),
        _loss(),
        rx.cond(_VIEW.has_steps, _small_charts(), rx.fragment()),
        rx.cond(RunState.artifact != "", _result(), rx.fragment()),
        rx.cond(RunState.checkpoints, _checkpoints(), rx.fragment()),
        panel("Events", rx.el.div(event_log(RunState.events), class_name="p")),
        _settings(),
        _stop_dialog(),
    )
    missing = rx.fragment(
        page_head("No such run", RunState.missing),
        rx.el.div(
            empty(
                "search",
                "This run is not here",
                "It may have been deleted, or the address is cut short.",
                link("All runs", to="/runs", class_name="btn"),
            ),
            class_name="panel",
        ),
    )
    ended = rx.cond(_VIEW.can_resume, "backprop resume", "backprop show-run")
    command = rx.cond(_VIEW.is_ended, ended, rx.cond(_VIEW.is_paused, "backprop unpause", "backprop watch"))
    return shell(
        rx.cond(RunState.missing != "", missing, rx.cond(_VIEW.run_id != "", found, rx.fragment())),
        active="Runs",
        twin=Twin(command, _VIEW.short_id),
    )


def _head() -> rx.Component:
    title = rx.el.div(rx.el.h1(_VIEW.name), pill(_VIEW.status), class_name="row g3 wrap")
    lead = rx.el.p(rx.el.span(_VIEW.about, class_name="ell"), _condition(), class_name="row g6 wrap")
    return page_head(title, lead, rx.cond(_VIEW.is_ended, _after(), _during()))


def _condition() -> rx.Component:
    """Return what holds the run up, what it does, or when it ended."""
    dot = rx.el.span("·", class_name="t3")
    safe = rx.el.span(
        dot, icon("moon", "s"), "Safe to close. The run is its own process.", class_name="row g6 t2 hide-s"
    )
    paused = rx.cond(
        _MARKS.waits_by_itself,
        rx.fragment("Paused, ", _VIEW.pause_reason, ". It goes on by itself."),
        rx.fragment("Waits after step ", _VIEW.step, " and keeps its memory."),
    )
    return rx.cond(
        _VIEW.is_ended,
        rx.el.span(dot, _VIEW.ended, class_name="row g6 t2 hide-s"),
        rx.cond(
            _VIEW.is_paused,
            rx.el.span(dot, paused, class_name="row g6 warn"),
            rx.cond(
                _VIEW.is_active & (_VIEW.phase != "") & ~_VIEW.has_steps,
                rx.el.span(dot, _VIEW.phase, class_name="row g6 acc"),
                safe,
            ),
        ),
    )


def _during() -> rx.Component:
    asked = RunState.asked
    is_going_on = _VIEW.is_paused | (asked == "pause")
    words = rx.match(
        asked,
        ("pause", "Pausing"),
        ("continue", "Going on"),
        rx.cond(_VIEW.is_paused, "Go on", "Pause"),
    )
    pause = rx.el.button(
        rx.cond(is_going_on, icon("play"), icon("pause")),
        words,
        type="button",
        class_name="btn steady",
        aria_busy=(asked == "pause") | (asked == "continue"),
        aria_keyshortcuts="p",
        title=rx.cond(is_going_on, "Go on (p)", "Pause after this step (p)"),
        on_click=RunState.toggle_pause,
        custom_attrs={"data-key": "pause"},
    )
    can_pause = _VIEW.is_active & ~(_VIEW.is_paused & _MARKS.waits_by_itself)
    stop = rx.el.button(
        icon("stop"),
        rx.cond(asked == "stop", "Stopping", "Stop"),
        type="button",
        class_name="btn dng steady",
        aria_busy=asked == "stop",
        disabled=asked == "stop",
        on_click=RunState.ask_stop,
    )
    return rx.fragment(rx.cond(can_pause, pause, rx.fragment()), stop)


def _after() -> rx.Component:
    """Return the buttons of a run that ended; a failure card has its own."""
    resume = rx.cond(_VIEW.can_resume, _resume_button("btn"), rx.fragment())
    return rx.cond(RunState.failure.code != "", rx.fragment(), rx.fragment(resume, _again_button()))


def _resume_button(css: str) -> rx.Component:
    is_asked = RunState.asked == "resume"
    return rx.el.button(
        icon("play"),
        rx.cond(is_asked, "Resuming", "Resume"),
        type="button",
        class_name=f"{css} steady",
        aria_busy=is_asked,
        disabled=is_asked,
        on_click=RunState.request("resume"),
    )


def _again_button() -> rx.Component:
    return rx.el.button(
        icon("again"),
        "Use these settings again",
        type="button",
        class_name="btn",
        on_click=TrainState.use_again(_VIEW.run_id),
    )


def _figures() -> rx.Component:
    left_or_took = rx.cond(
        _VIEW.is_ended,
        figure("Took", _VIEW.took, sub=_VIEW.ended),
        figure("Left", _VIEW.left, sub=_VIEW.done_at),
    )
    return rx.el.div(
        figure("Loss, smoothed", _VIEW.loss, sub=_VIEW.loss_note),
        rx.cond(
            _VIEW.eval_loss != "",
            figure("Eval loss", _VIEW.eval_loss, sub=_MARKS.eval_note),
            rx.fragment(),
        ),
        figure("Step", _VIEW.step, rx.Var.create("of ") + _VIEW.total, _VIEW.epoch),
        left_or_took,
        figure("Speed", _VIEW.speed, "tok/s", _VIEW.step_time),
        figure("Tokens", _VIEW.tokens, sub=_VIEW.tokens_note),
        figure("Memory", _VIEW.memory, "GiB", _VIEW.memory_note),
        class_name="figs",
    )


def _small_charts() -> rx.Component:
    return rx.el.div(
        _mini("Learning rate", "learning_rate", _VIEW.learning_rate),
        _mini("Gradient norm", "grad_norm", _VIEW.grad_norm),
        _mini("Tokens per second", "tokens_per_s", _VIEW.tokens_per_s),
        class_name="grid three",
    )


def _chart(variant: str, name: str, summary: str, **props: Any) -> rx.Component:
    return Chart.create(
        chunk=RunState.chunk,
        stream=_VIEW.run_id,
        variant=variant,
        column=_COLUMNS[name],
        total=_VIEW.total_steps,
        summary=summary,
        **props,
    )


def _chart_controls() -> rx.Component:
    return rx.el.div(
        rx.el.label(
            "Smooth",
            rx.el.input(
                type="range",
                min="0",
                max="99",
                default_value="90",
                class_name="range",
                on_change=RunState.set_smooth.throttle(100),
            ),
            class_name="row sm t2 hide-s",
        ),
        segmented(
            "Scale",
            _key(RunState.is_log, "log", "linear"),
            (("linear", "Linear"), ("log", "Log")),
            RunState.choose_scale,
        ),
        segmented(
            "Steps",
            _key(RunState.last_only, "last", "all"),
            (("all", "All"), ("last", "Last 500")),
            RunState.choose_span,
        ),
        class_name="row wrap",
    )


def _loss() -> rx.Component:
    legend = rx.el.div(
        rx.el.h2(rx.cond(_VIEW.is_bad, "Loss until then", "Loss")),
        rx.el.span(rx.el.i(class_name="key"), "train", class_name="row g6 sm t2"),
        rx.cond(
            _MARKS.evaluations,
            rx.el.span(rx.el.i(class_name="key eval"), "evaluation", class_name="row g6 sm t2"),
            rx.fragment(),
        ),
        rx.el.span(rx.el.i(class_name="key tick"), "checkpoint", class_name="row g6 sm t2 hide-s"),
        rx.cond(
            _MARKS.pauses,
            rx.el.span(rx.el.i(class_name="key band"), "pause", class_name="row g6 sm t2 hide-s"),
            rx.fragment(),
        ),
        class_name="row g4",
    )
    chart = _chart(
        "loss",
        "loss",
        "Training loss, smoothed",
        smooth=RunState.smooth,
        log=RunState.is_log,
        window=rx.cond(RunState.last_only, _LAST_STEPS, 0),
        marks=_MARKS,
        failed=_VIEW.is_bad,
    )
    waiting = empty(
        "train",
        rx.cond(
            _VIEW.phase != "", _VIEW.phase, rx.cond(_VIEW.is_waiting, "Waiting for its turn", "No step yet")
        ),
        rx.cond(
            _VIEW.is_ended,
            "The run ended before its first step.",
            "The first point appears after the first step.",
        ),
        rx.fragment(),
    )
    return rx.el.section(
        rx.el.div(legend, rx.cond(_VIEW.has_steps, _chart_controls(), rx.fragment()), class_name="ptop"),
        rx.cond(_VIEW.has_steps, rx.fragment(rx.el.div(chart, class_name="chead"), _points()), waiting),
        class_name="panel",
        aria_label="Loss",
    )


def _points() -> rx.Component:
    return PointTable.create(chunk=RunState.chunk, stream=_VIEW.run_id, marks=_MARKS)


def _key(condition: Any, yes: str, no: str) -> Any:
    return rx.cond(condition, yes, no)


def _mini(label: str, name: str, value: Any) -> rx.Component:
    return rx.el.section(
        rx.el.div(
            rx.el.span(label, class_name="lab"), rx.el.span(value, class_name="m num"), class_name="row sp"
        ),
        _chart("mini", name, label),
        class_name="panel p small",
        aria_label=label,
    )


def _result() -> rx.Component:
    path = rx.el.div(
        icon("folder"),
        rx.el.code(RunState.artifact, class_name="grow ell mono"),
        CopyButton.create(icon("copy", "s"), text=RunState.artifact, class_name="btn sm"),
        link(icon("download", "s"), "Export", to=f"/export?run={_VIEW.run_id}", class_name="btn sm"),
        class_name="row",
    )
    go_on = rx.cond(
        _VIEW.has_adapter,
        rx.el.div(
            rx.el.span("Teach it more, from other data or for longer.", class_name="grow t2"),
            rx.el.button(
                icon("train"),
                "Continue from this adapter",
                type="button",
                class_name="btn",
                on_click=TrainState.go_on_from(_VIEW.run_id),
            ),
            class_name="foot row wrap",
        ),
        rx.fragment(),
    )
    title = rx.cond(_VIEW.has_adapter, "Adapter", "Model")
    aside = rx.cond(_VIEW.has_adapter, "PEFT safetensors with tokenizer", "safetensors with tokenizer")
    return panel(rx.el.h2(title), rx.el.div(path, class_name="p"), go_on, aside=aside)


def _checkpoints() -> rx.Component:
    rows = rx.foreach(
        RunState.checkpoints,
        lambda item: rx.el.tr(
            rx.el.td("Step ", item.step, class_name="m num"),
            rx.el.td(item.clock, class_name="t2 num"),
            rx.el.td(item.size, class_name="t2 num"),
            rx.el.td(rx.el.span(icon("check", "s"), "verified", class_name="row g6 ok")),
        ),
    )
    return panel(
        "Checkpoints",
        rx.el.table(rx.el.tbody(rows)),
        aside="the newest 3 are kept",
        head_css="ptop bare",
    )


def _settings() -> rx.Component:
    rows = rx.foreach(
        RunState.settings,
        lambda item: rx.el.tr(
            rx.el.td(item.label, class_name="t2"),
            rx.el.td(item.value, class_name="m num wrapcell"),
            rx.el.td(item.origin, class_name="r t3"),
        ),
    )
    head = rx.el.button(
        rx.el.span(
            rx.cond(RunState.shows_settings, icon("down"), icon("right")), "Settings", class_name="row m"
        ),
        rx.el.span("every value and where it came from", class_name="sm t3"),
        type="button",
        class_name="ptop full bare foldhead",
        aria_expanded=rx.cond(RunState.shows_settings, "true", "false"),
        on_click=RunState.toggle_settings,
    )
    table = rx.el.div(rx.el.table(rx.el.tbody(rows), class_name="dense"), class_name="scroll")
    return rx.el.section(
        head,
        rx.cond(RunState.shows_settings, table, rx.fragment()),
        class_name="panel",
        aria_label="Settings",
    )


def _failure() -> rx.Component:
    what = rx.el.div(
        rx.el.div(
            rx.el.span(icon("alert", "l"), class_name="danger"),
            rx.el.div(
                rx.el.h2(RunState.failure.message),
                rx.el.p(RunState.failure.hint, class_name="t2 mt1"),
                rx.el.div(RunState.failure.code, class_name="mono t2 mt2"),
                class_name="grow",
            ),
            class_name="row g3 top",
        ),
        rx.el.div(
            rx.cond(
                _VIEW.can_resume,
                _fix(RunState.failure.resume_title, RunState.failure.resume_text, _resume_button("btn pri")),
                rx.fragment(),
            ),
            _fix("Change the settings", "Opens Train with those of this run.", _again_button()),
            class_name="fixes",
        ),
    )
    safe = rx.el.div(
        rx.el.h2("What is safe", class_name="small-title"),
        rx.el.div(
            rx.el.span(icon("check"), class_name="ok"),
            rx.el.div(
                rx.el.div(RunState.failure.safe_title),
                rx.el.div(RunState.failure.safe_text, class_name="sm t2"),
            ),
            class_name="row g3 top mt3",
        ),
    )
    log = rx.cond(
        RunState.log,
        rx.el.div(
            rx.el.h2("Last lines", class_name="small-title"),
            rx.el.div(rx.foreach(RunState.log, _log_line), class_name="logtail mt2"),
            class_name="foot",
        ),
        rx.fragment(),
    )
    return rx.el.section(
        rx.el.div(what, safe, class_name="body"), log, class_name="panel fail", aria_label="What went wrong"
    )


def _fix(title: Any, text: Any, button: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.el.div(rx.el.div(title, class_name="m"), rx.el.div(text, class_name="sm t2"), class_name="grow"),
        button,
        class_name="row g3",
    )


def _log_line(line: Any) -> rx.Component:
    return rx.el.div(line)


def _stop_dialog() -> rx.Component:
    return confirm(
        title=rx.Var.create("Stop ") + _VIEW.name + "?",
        text="It finishes its step, saves the adapter and ends. What it learned so far is kept.",
        keep="Keep running",
        act="Stop the run",
        is_open=RunState.asks_stop,
        on_close=RunState.cancel_stop,
        on_act=RunState.stop,
    )
