"""The Multi-Run page: a campaign of legs, planned, live, and with what each leg forgot."""

from __future__ import annotations

import reflex as rx

from backprop_app.components import campaign_parts as parts
from backprop_app.components.basics import panel
from backprop_app.components.campaign_form import campaign_form
from backprop_app.components.forget_meter import forget_meter
from backprop_app.components.leg_lanes import leg_lanes
from backprop_app.layout import Twin, shell
from backprop_app.states.campaign import CampaignState
from backprop_app.states.campaign_form import CampaignFormState

_VIEW = CampaignState.view


def multi_run_page() -> rx.Component:
    """Return the page at `/multi-run`."""
    is_form = CampaignState.shows_form | (_VIEW.run_id == "")
    missing = rx.cond(
        CampaignState.missing != "",
        rx.el.div(CampaignState.missing, class_name="note warn", role="status"),
        rx.fragment(),
    )
    ended = rx.cond(_VIEW.can_resume, "backprop resume", "backprop show-run")
    head = rx.cond(is_form, "backprop multi-run", rx.cond(_VIEW.is_ended, ended, "backprop watch"))
    return shell(
        missing,
        rx.cond(CampaignState.is_loaded, rx.cond(is_form, campaign_form(), _campaign()), rx.fragment()),
        parts.campaign_list(),
        parts.stop_dialog(),
        active="Multi-Run",
        twin=Twin(head, rx.cond(is_form, CampaignFormState.command, _VIEW.short_id)),
    )


def _campaign() -> rx.Component:
    done_at = CampaignState.timeline.done_at
    return rx.fragment(
        parts.campaign_head(),
        parts.failure(),
        panel(
            "Legs",
            leg_lanes(CampaignState.timeline),
            aside=rx.cond(done_at != "", rx.Var.create("done about ") + done_at, ""),
        ),
        rx.el.div(
            forget_meter(CampaignState.heat),
            rx.el.div(
                parts.so_far(), parts.warning(), parts.product(), parts.decision(), class_name="col g4"
            ),
            class_name="grid two campaign",
        ),
        parts.loss_across_legs(),
    )
