"""The parts of a campaign's page beside lanes and forget-meter: head, loss across the legs, figures, what is safe."""

from __future__ import annotations

from typing import Any

import reflex as rx

from backprop_app.components.basics import field_error, page_head, panel
from backprop_app.components.dialogs import confirm
from backprop_app.components.icons import icon
from backprop_app.components.local import Chart, CopyButton, PointTable, link
from backprop_app.components.status import pill, word
from backprop_app.components.steering import pause_and_stop
from backprop_app.states.campaign import CampaignState
from backprop_app.states.campaign_form import CampaignFormState

_VIEW = CampaignState.view
_ASKED = CampaignState.asked


def campaign_head() -> rx.Component:
    """Return the head: name, where it stands, what can be asked of it."""
    state = rx.cond(
        (_VIEW.leg_text != "") & ~_VIEW.is_paused,
        rx.el.span(rx.el.span(class_name="dot"), _VIEW.leg_text, class_name="pill live"),
        pill(_VIEW.status),
    )
    title = rx.el.div(rx.el.h1(_VIEW.name), state, class_name="row g3 wrap")
    return page_head(title, _VIEW.about, rx.cond(_VIEW.is_ended, _after(), _during()))


def _during() -> rx.Component:
    return pause_and_stop(
        asked=_ASKED,
        is_paused=_VIEW.is_paused,
        can_pause=_VIEW.is_active,
        on_pause=CampaignState.toggle_pause,
        on_stop=CampaignState.ask_stop,
    )


def _after() -> rx.Component:
    resume = rx.el.button(
        icon("play"),
        rx.cond(_ASKED == "resume", "Resuming", "Resume"),
        type="button",
        class_name="btn steady",
        aria_busy=_ASKED == "resume",
        disabled=_ASKED == "resume",
        on_click=CampaignState.request("resume"),
    )
    new = rx.el.button(
        icon("plus"), "New campaign", type="button", class_name="btn", on_click=CampaignState.new
    )
    return rx.fragment(
        rx.cond(_VIEW.can_resume, resume, rx.fragment()),
        rx.cond(_VIEW.can_add, _add_leg(), rx.fragment()),
        new,
    )


def _add_leg() -> rx.Component:
    """Return the button with the list of data files for one more leg."""
    trigger = rx.el.button(
        icon("plus"), "Add a leg", type="button", class_name="btn", on_click=CampaignState.ask_leg
    )
    options = rx.foreach(
        CampaignFormState.data,
        lambda option: rx.el.button(
            rx.el.span(option.label, class_name="m ell"),
            rx.el.span(option.note, class_name="sm t3 ell"),
            type="button",
            class_name="opt",
            on_click=CampaignState.add_leg(option.key),
        ),
    )
    return rx.popover.root(
        rx.popover.trigger(trigger),
        rx.popover.content(
            rx.el.div("Learned on top, with the settings of the last leg.", class_name="sm t2"),
            field_error(CampaignState.add_error),
            rx.el.div(options, class_name="opts"),
            class_name="pop",
            side="bottom",
            align="end",
        ),
        open=CampaignState.adds,
        on_open_change=CampaignState.set_adds,
    )


def failure() -> rx.Component:
    """Return why the campaign ended badly, and what is safe; nothing when it did not."""
    card = rx.el.section(
        rx.el.div(
            icon("alert"),
            rx.el.div(
                rx.el.div(_VIEW.message, class_name="t1"),
                rx.el.div(_VIEW.hint, class_name="wrapcell"),
                rx.el.div(_VIEW.code, class_name="mono t3"),
            ),
            class_name="note danger",
            role="alert",
        ),
        class_name="panel p",
        aria_label="What went wrong",
    )
    return rx.cond(_VIEW.code != "", card, rx.fragment())


def loss_across_legs() -> rx.Component:
    """Return the loss of all legs as one curve; a line stands where a leg gave way to the next."""
    chart = Chart.create(
        chunk=CampaignState.chunk,
        stream=_VIEW.run_id,
        variant="loss",
        column=2,
        total=_VIEW.total_steps,
        summary="Training loss over all legs, smoothed",
        smooth=0.9,
        log=False,
        window=0,
        marks=CampaignState.marks,
        failed=_VIEW.code != "",
    )
    legend = rx.el.div(
        rx.el.h2("Loss"),
        rx.el.span(rx.el.i(class_name="key"), "train", class_name="row g6 sm t2"),
        rx.el.span(rx.el.i(class_name="key tick"), "next leg", class_name="row g6 sm t2"),
        class_name="row g4",
    )
    table = PointTable.create(chunk=CampaignState.chunk, stream=_VIEW.run_id, marks=CampaignState.marks)
    body = rx.fragment(rx.el.div(chart, class_name="chead"), table)
    return rx.cond(
        _VIEW.has_steps,
        panel(legend, body, aside=rx.el.span(_VIEW.loss, class_name="m num"), aria_label="Loss"),
        rx.fragment(),
    )


def so_far() -> rx.Component:
    """Return average, backward transfer and what was learned, together."""
    rows = rx.foreach(
        CampaignState.figures,
        lambda pair: rx.fragment(
            rx.el.dt(pair.label, rx.cond(pair.aside != "", rx.el.div(pair.aside, class_name="sm t3"), "")),
            rx.el.dd(pair.value),
        ),
    )
    nothing = rx.el.div("The first figures stand here after the first merge.", class_name="p t2")
    return panel(
        "So far",
        rx.cond(CampaignState.figures, rx.el.dl(rows, class_name="kv num"), nothing),
        aside=_VIEW.merges,
    )


def warning() -> rx.Component:
    """Return which leg has lost most, when any has."""
    return rx.cond(
        _VIEW.warning != "",
        rx.el.div(icon("alert"), rx.el.span(_VIEW.warning), class_name="note warn", role="status"),
        rx.fragment(),
    )


def product() -> rx.Component:
    """Return the merged adapter, and what happens when a leg fails."""
    here = rx.el.div(
        rx.el.div(rx.el.span(icon("check", "s"), class_name="ok"), _VIEW.product, class_name="row g6 sm"),
        rx.cond(
            _VIEW.product_path != "",
            rx.el.div(
                rx.el.code(_VIEW.product_path, class_name="grow ell mono sm"),
                CopyButton.create(icon("copy", "s"), text=_VIEW.product_path, class_name="btn sm"),
                link(icon("download", "s"), "Export", to=f"/export?run={_VIEW.run_id}", class_name="btn sm"),
                class_name="row mt2",
            ),
            rx.fragment(),
        ),
        class_name="mt3",
    )
    text = rx.cond(
        _VIEW.is_ended,
        "The merged adapter is plain PEFT and is exported like any other.",
        "When a leg fails, the campaign stops before its merge. The last merged adapter stays.",
    )
    return rx.el.section(
        rx.el.h2("Merged adapter"),
        rx.el.p(text, class_name="t2 sm mt1"),
        rx.cond(_VIEW.product != "", here, rx.fragment()),
        class_name="panel p",
        aria_label="Merged adapter",
    )


def decision() -> rx.Component:
    """Return the choice about the newest merge, once the campaign has ended."""
    is_kept = _VIEW.decided == "merged"
    button = rx.el.button(
        rx.cond(is_kept, "Reject the merge", "Accept the merge"),
        type="button",
        class_name="btn",
        disabled=CampaignState.is_deciding,
        aria_busy=CampaignState.is_deciding,
        on_click=CampaignState.decide(_VIEW.decided != "merged"),
    )
    text = rx.cond(
        is_kept,
        "Its row is the adapter as it is. Rejected, the adapter is that of before this leg; accepted again, this one.",
        "The adapter is that of before this leg. Accepted, the merge that was measured takes its place.",
    )
    return rx.cond(
        _VIEW.decidable > 1,
        rx.el.section(
            rx.el.h2("Merge of leg ", _VIEW.decidable),
            rx.el.p(text, class_name="t2 sm mt1"),
            rx.el.div(button, class_name="row mt3"),
            class_name="panel p",
            aria_label="Merge",
        ),
        rx.fragment(),
    )


def campaign_list() -> rx.Component:
    """Return every campaign, newest first."""
    rows = rx.foreach(CampaignState.items, _item)
    return rx.cond(
        CampaignState.items,
        panel(
            "Campaigns",
            rx.el.table(rx.el.tbody(rows), aria_label="Campaigns"),
        ),
        rx.fragment(),
    )


def _item(item: Any) -> rx.Component:
    return rx.el.tr(
        rx.el.td(link(item.name, to=item.href, class_name="rowlink")),
        rx.el.td(word(item.status)),
        rx.el.td(item.about, class_name="t2 hide-s"),
        rx.el.td(item.ended, class_name="r t2"),
    )


def stop_dialog() -> rx.Component:
    """Return the question before the campaign is stopped."""
    return confirm(
        title=rx.Var.create("Stop ") + _VIEW.name + "?",
        text="It finishes its step and ends. Legs that are merged stay; Resume goes on inside this leg.",
        keep="Keep running",
        act="Stop the campaign",
        is_open=CampaignState.asks_stop,
        on_close=CampaignState.cancel_stop,
        on_act=CampaignState.stop,
    )
