"""The page of one run: live while it works, a record afterwards, a failure card when it went wrong."""

from __future__ import annotations

import reflex as rx

from backprop_app.components.basics import empty, figure, page_head, panel
from backprop_app.components.eval_card import eval_card
from backprop_app.components.failure_card import failure_card
from backprop_app.components.icons import icon
from backprop_app.components.local import CopyButton, link
from backprop_app.components.log import event_log
from backprop_app.components.proof_card import proof_card
from backprop_app.components.run_charts import loss_panel, small_charts
from backprop_app.components.run_head import run_head, stop_dialog
from backprop_app.layout import Twin, shell
from backprop_app.states.judge import JudgeState
from backprop_app.states.run import RunState
from backprop_app.states.train import TrainState

_VIEW = RunState.view
_MARKS = RunState.marks


def run_page() -> rx.Component:
    """Return the page at `/runs/<id>`."""
    found = rx.fragment(
        run_head(),
        rx.cond(RunState.failure.code != "", failure_card(), rx.fragment()),
        rx.cond(_VIEW.has_steps, _figures(), rx.fragment()),
        loss_panel(),
        rx.cond(_VIEW.has_steps, small_charts(), rx.fragment()),
        rx.cond(RunState.artifact != "", _result(), rx.fragment()),
        rx.cond(RunState.artifact != "", _judged(), rx.fragment()),
        rx.cond(RunState.checkpoints, _checkpoints(), rx.fragment()),
        panel("Events", rx.el.div(event_log(RunState.events), class_name="p")),
        _settings(),
        stop_dialog(),
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


def _judged() -> rx.Component:
    """Return whether the run helped, and the proof of its newest export, if it has one."""
    proof = proof_card(JudgeState.proof, JudgeState.is_proving, JudgeState.start_proof)
    return rx.cond(
        JudgeState.proof.job_id != "",
        rx.el.div(eval_card(), proof, class_name="grid two"),
        eval_card(),
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


def _result() -> rx.Component:
    path = rx.el.div(
        icon("folder"),
        rx.el.code(RunState.artifact, class_name="grow ell mono"),
        CopyButton.create(icon("copy", "s"), text=RunState.artifact, class_name="btn sm"),
        link(icon("chat", "s"), "Try it", to=f"/playground?run={_VIEW.run_id}", class_name="btn sm"),
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
